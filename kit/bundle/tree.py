"""The course's tree: what each learner gets a copy of."""

import gzip
import io
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

from kit.course.catalogue import catalogue
from kit.errors import UserError
from kit.parts.implementation import EXERCISES

#: What arises by working in the tree, and is no part of it.
LEFT_OUT = ("__pycache__", "runs", "packages", "build", "dist", "install.log", ".from-bundle", ".course-unpacked")

#: Without these it is no tree that can be installed and tested.
NEEDED = ("pyproject.toml", "constraints.txt", "conftest.py", "README.md", "docs", "exercises", "tests", "kit")


def find_root() -> Path:
    """The folder that this kit was installed from.

    Raises:
        UserError: if it was installed without its repository.

    """
    root = Path(__file__).resolve().parents[2]
    missing = [name for name in NEEDED if not (root / name).exists()]
    if missing:
        raise UserError(
            f"The course's tree is not where this kit is installed ({root} has no {missing[0]}): install the kit from a clone "
            "of its repository with `pip install -c constraints.txt -e .`, and run kit bundle there."
        )
    return root


def tracked_files(root: Path) -> list[Path]:
    """The files of the tree, relative to it: those that git knows, or those that are there if it is no clone."""
    listed = _listed_by_git(root)
    return sorted(_files_there(root)) if listed is None else listed


def unknown_files(root: Path) -> list[Path]:
    """The files of the tree that git neither knows nor ignores, so that they are left out."""
    return _listed_by_git(root, "--others", "--exclude-standard") or []


def _listed_by_git(root: Path, *options: str) -> list[Path] | None:
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "ls-files", "-z", *options]
    try:
        names = subprocess.run(command, capture_output=True, check=True).stdout.decode().split("\0")
    except (OSError, subprocess.CalledProcessError):
        return None  # without git, or in a folder that git does not trust, what is there is taken
    return sorted(Path(name) for name in names if name and (root / name).is_file())


def pack(root: Path, archive: Path, top: str) -> None:
    """Write the tree into an archive, with the exercises as a learner begins with them. The same tree gives the same bytes.

    Args:
        root: The tree.
        archive: The .tar.gz to write.
        top: The folder in it that all is in.

    """
    with (
        archive.open("wb") as file,
        gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for path in tracked_files(root):
            content = _content(root, path)
            entry = tarfile.TarInfo(f"{top}/{path.as_posix()}")
            entry.size = len(content)
            entry.mode = 0o755 if os.access(root / path, os.X_OK) else 0o644
            tar.addfile(entry, io.BytesIO(content))


def _content(root: Path, path: Path) -> bytes:
    stub = catalogue().stub_file(path.stem)
    fresh = path.parent == Path(EXERCISES) and stub.is_file()
    return (stub if fresh else root / path).read_bytes()


def _files_there(root: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(root):
        folders[:] = [
            name
            for name in folders
            if name not in LEFT_OUT and not name.endswith(".egg-info") and (not name.startswith(".") or name == ".ci")
        ]
        yield from (
            Path(folder, name).relative_to(root) for name in files if not name.endswith((".pyc", ".unfinished"))
        )
