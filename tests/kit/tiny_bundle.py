"""A tiny course, and tiny wheels of its requirements, for bundles made by the real pip."""

import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from kit.bundle import folder as bundle_folder
from kit.bundle.folder import make_bundle
from kit.bundle.pip import find_pip
from kit.bundle.targets import Target, find_target

#: The Python that the kit's environment was made with: a learner does not start from an
#: environment.
PYTHON = getattr(sys, "_base_executable", sys.executable)

HERE = find_target(None, None)
ELSEWHERE = Target("3.12" if HERE.python != "3.12" else "3.13", "macosx_14_0_arm64")

WHEEL = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n"

#: Builds the tiny course without a wheel of setuptools.
BACKEND = '''
import pathlib, zipfile

METADATA = """Metadata-Version: 2.1
Name: tiny
Version: 1.0
Requires-Dist: alpha
Requires-Dist: omega; sys_platform != 'darwin'
"""

def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    name = "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(wheel_directory, name), "w") as archive:
        info = "tiny-1.0.dist-info"
        archive.writestr(f"{info}/METADATA", METADATA)
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        archive.writestr(f"{info}/entry_points.txt", "[console_scripts]\\nkit = tiny_kit:main\\n")
        archive.writestr("tiny_kit.py", "def main():\\n    print('kit 1.0')\\n")
        archive.writestr(f"{info}/RECORD", "")
    return name
'''

PYPROJECT = """[build-system]
requires = []
build-backend = "backend"
backend-path = ["kit"]

[project]
name = "tiny"
version = "1.0"
dependencies = ["alpha", "omega; sys_platform != 'darwin'", "apples; sys_platform == 'darwin'"]

[project.optional-dependencies]
tpu = ["alpha[tpu]"]
"""


@dataclass(frozen=True)
class TinyBundle:
    """A tiny course, an index of its requirements, and a bundle of them in two states."""

    index: Path
    root: Path
    unfinished: Path
    finished: Path

    def use(self, patch: pytest.MonkeyPatch) -> None:
        """Have `kit bundle` pack the tiny course, and pip look into the index alone."""
        for name in [name for name in os.environ if name.startswith("PIP_")]:
            patch.delenv(name)
        patch.setenv("PIP_CONFIG_FILE", os.devnull)
        patch.setenv("PIP_NO_INDEX", "1")
        patch.setenv("PIP_FIND_LINKS", str(self.index))
        patch.setenv("PIP_RETRIES", "1")
        patch.setattr("kit.bundle.wheels.INSTALLERS", ("pip",))
        patch.setattr(bundle_folder, "find_root", lambda: self.root)


def make(folder: Path, target: Target = HERE, extras: tuple[str, ...] = ()) -> list[str]:
    """Make a bundle, and return the lines that it reported."""
    lines: list[str] = []
    make_bundle(folder, target, extras, lines.append)
    return lines


def names(folder: Path, label: str = HERE.label) -> list[str]:
    """Package and version of the wheels of a target."""
    lines = (folder / "for" / f"{label}.txt").read_text().split()
    assert all((folder / line).is_file() for line in lines)
    return sorted("-".join(Path(line).name.split("-")[:2]) for line in lines if "/pip-" not in line)


def new_packages(lines: list[str]) -> list[str]:
    """The packages that were fetched, by the lines that were reported."""
    return [line.split()[1] for line in lines if line.startswith("  ")]


def write_wheel(
    folder: Path, name: str, version: str = "1.0", tag: str = "py3-none-any", requires: tuple[str, ...] = ()
) -> Path:
    """Write a wheel with an empty module."""
    info = f"{name}-{version}.dist-info"
    lines = [f"Requires-Dist: {line}" for line in requires]
    metadata = "\n".join(["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *lines, ""])
    files = {f"{name}.py": "", f"{info}/METADATA": metadata, f"{info}/WHEEL": WHEEL.format(tag=tag)}
    record = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    file = folder / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(file, "w") as archive:
        for path, content in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(path, content)
    return file


def write_pip(folder: Path) -> None:
    """Pack the installed pip as a wheel."""
    code = "import pip, pathlib; print(pip.__version__, pathlib.Path(pip.__file__).parent)"
    version, place = subprocess.run(
        [find_pip()[0], "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    with zipfile.ZipFile(write_wheel(folder, "pip", version), "a") as archive:
        for path in Path(place).rglob("*.*"):
            if path.suffix != ".pyc" and path.is_file():
                archive.write(path, f"pip/{path.relative_to(place)}")


def write_index(folder: Path) -> None:
    """Write wheels for this machine and for another."""
    folder.mkdir()
    write_pip(folder)
    write_wheel(folder, "alpha", requires=("beta>=1", "gamma; python_version < '3.12'", 'delta; extra == "tpu"'))
    for name, version in (("beta", "1.0"), ("beta", "2.0"), ("gamma", "1.0"), ("delta", "1.0")):
        write_wheel(folder, name, version)
    for python in ("cp312", "cp313"):
        write_wheel(folder, "apples", tag=f"{python}-{python}-macosx_11_0_arm64")


def write_course(root: Path) -> None:
    """Write a tree that has all that `kit bundle` looks for."""
    for name in ("exercises", "tests", "kit", "kit/__pycache__", "runs", ".venv"):
        (root / name).mkdir(parents=True)
        (root / name / "file.py").touch()
    (root / "pyproject.toml").write_text(PYPROJECT)
    (root / "constraints.txt").write_text("# Pins.\nalpha==1.0\nbeta==1.0\n")
    (root / "kit" / "backend.py").write_text(BACKEND)
    (root / "exercises" / "mesh.py").write_text("mine")
    for name in ("conftest.py", "README.md"):
        (root / name).touch()
