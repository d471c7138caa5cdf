"""A wheel of the kit, built from the tracked files."""

import shutil
import subprocess
import sys
from pathlib import Path

from kit.bundle.tree import find_root, tracked_files


def build_wheel(source: Path, target: Path) -> Path:
    """Build the wheel into the folder ``target``; ``source`` is an empty folder for the build."""
    root = find_root()
    for path in tracked_files(root):
        if path.parts[0] in ("kit", "exercises") or len(path.parts) == 1:
            (source / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / path, source / path)
    build = f"from setuptools.build_meta import build_wheel; print(build_wheel({str(target)!r}))"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    (built,) = target.glob("*.whl")
    return built
