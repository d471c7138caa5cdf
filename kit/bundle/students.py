"""A student's copy of the course: an allow-list, so that a new file is left out until it is named.

It has no solutions, no wrong and right examples, no versions on the way to a solution, no author
tools and no history of git. Its README is that of a learner's folder.
"""

from collections.abc import Iterable
from pathlib import Path

from kit.init.files import TEMPLATES
from kit.parts.implementation import EXERCISES

#: Files by their path, and folders with all that is in them.
_FILES = frozenset(
    {
        *("LICENSE", "README.md", "conftest.py", "constraints.txt", "pyproject.toml", "setup.py"),
        *("docs/evidence.md", "docs/glossary.md", "docs/planning.md", "docs/running.md", "docs/topologies.md"),
        *("kit/__init__.py", "kit/__main__.py", "kit/errors.py", "kit/files.py", "kit/formatting.py"),
        *("kit/installation.py", "kit/narrator.py", "kit/pytest_plugin.py"),
    }
)
_FOLDERS = (
    *(EXERCISES, "tests/exercises"),
    *("kit/bundle", "kit/checks", "kit/cli", "kit/course", "kit/data", "kit/doctor", "kit/evidence", "kit/init"),
    *("kit/judge", "kit/lock", "kit/models", "kit/parts", "kit/report", "kit/run", "kit/runtime", "kit/tpu"),
)


def for_students(paths: Iterable[Path]) -> list[Path]:
    """Those of the course's files, relative to its root, that a student's copy has."""
    return [path for path in paths if path.as_posix() in _FILES or _is_in_a_folder(path)]


def readme() -> bytes:
    """The README of a student's copy: that of the course links to what the copy does not have."""
    return (TEMPLATES / "README.md").read_bytes()


def _is_in_a_folder(path: Path) -> bool:
    return any(path.is_relative_to(folder) for folder in _FOLDERS)
