"""The course's source tree, of which each learner gets a copy."""

import gzip
import io
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

from kit.bundle.students import for_students, readme
from kit.course.catalogue import catalogue
from kit.errors import UserError
from kit.init.files import tutor_files
from kit.parts.implementation import EXERCISES

#: Files and folders that work in the tree creates, and that do not belong to it.
LEFT_OUT = ("__pycache__", "runs", "packages", "build", "dist", "install.log", ".from-bundle", ".course-unpacked")

#: A tree that can be installed and tested has all of these.
NEEDED = ("pyproject.toml", "constraints.txt", "conftest.py", "README.md", "docs", "exercises", "tests", "kit")


def find_root() -> Path:
    """Return the kit's repository. Raises UserError if the kit was installed without it."""
    root = Path(__file__).resolve().parents[2]
    missing = [name for name in NEEDED if not (root / name).exists()]
    if missing:
        raise UserError(
            f"This kit was installed without its repository ({root} has no {missing[0]}): clone the repository, "
            "install the kit there with `pip install -c constraints.txt -e .`, and run kit bundle there."
        )
    return root


def tracked_files(root: Path) -> list[Path]:
    """Return the files of the tree that git tracks, relative to it; all files without a clone."""
    listed = _listed_by_git(root)
    return sorted(_all_files(root)) if listed is None else listed


def untracked_files(root: Path) -> list[Path]:
    """Return the files that git neither tracks nor ignores. They are left out of the bundle."""
    return _listed_by_git(root, "--others", "--exclude-standard") or []


def _listed_by_git(root: Path, *options: str) -> list[Path] | None:
    """Return what git lists; None without git, or in a folder that git does not trust."""
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "ls-files", "-z", *options]
    try:
        names = subprocess.run(command, capture_output=True, check=True).stdout.decode().split("\0")
    except (OSError, subprocess.CalledProcessError):
        return None
    return sorted(Path(name) for name in names if name and (root / name).is_file())


def contents_of(root: Path, students: bool) -> dict[Path, bytes]:
    """The files of the tree, with fresh stubs as exercises, by their path in it.

    It also has the instructions for coding assistants that `kit init` writes. Students get a copy
    without solutions.
    """
    paths = tracked_files(root)
    contents = {path: _content(root, path) for path in (for_students(paths) if students else paths)}
    if students:
        contents[Path("README.md")] = readme()
    return {Path(path): text.encode() for path, text in tutor_files().items()} | contents


def write_tree(root: Path, folder: Path) -> None:
    """Write a student's copy into a folder that is empty or new.

    Raises UserError if the folder has files, or if it cannot be written.
    """
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UserError(f"kit bundle {folder}: it has other files; choose a new or an empty folder.")
        for path, content in sorted(contents_of(root, students=True).items()):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
    except OSError as error:
        raise UserError(
            f"kit bundle {folder}: {error.filename or 'a file'} cannot be written ({error.strerror})."
        ) from None


def pack(root: Path, archive: Path, top: str, students: bool = False) -> None:
    """Write the tree into an archive; the same tree gives the same bytes.

    ``archive`` is a .tar.gz, in which everything is in the folder ``top``.
    """
    contents = contents_of(root, students)
    with (
        archive.open("wb") as file,
        gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for path, content in sorted(contents.items()):
            entry = tarfile.TarInfo(f"{top}/{path.as_posix()}")
            entry.size = len(content)
            entry.mode = 0o755 if os.access(root / path, os.X_OK) else 0o644
            tar.addfile(entry, io.BytesIO(content))


def _content(root: Path, path: Path) -> bytes:
    """Return the content of a file; for an exercise, that of its stub."""
    stub = catalogue().stub_file(path.stem)
    is_exercise = path.parent == Path(EXERCISES) and stub.is_file()
    return (stub if is_exercise else root / path).read_bytes()


def _all_files(root: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(root):
        kept = [name for name in folders if name not in LEFT_OUT and not name.endswith(".egg-info")]
        folders[:] = [name for name in kept if not name.startswith(".") or name == ".ci"]
        names = [name for name in files if not name.endswith((".pyc", ".unfinished"))]
        yield from (Path(folder, name).relative_to(root) for name in names)
