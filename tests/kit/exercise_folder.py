"""Folders with exercises, as learners have them: stubs, and solutions of tests/solutions."""

import subprocess
import sys
from pathlib import Path

from kit.course.catalogue import catalogue
from kit.course.lessons import REFERENCE_FOLDER
from kit.dev.solutions import find_solution

ROOT = Path(__file__).parents[2]
SOLUTIONS = ROOT / "tests" / "solutions"


def source_of(exercise: str, name: str) -> str:
    """The module of a wrong or right solution."""
    return find_solution(SOLUTIONS, exercise, name).source


def reference_source(exercise: str) -> str:
    """The module of the reference."""
    return (REFERENCE_FOLDER / f"{exercise}.py").read_text(encoding="utf-8")


def write_exercises(folder: Path, **solutions: str) -> Path:
    """Write stubs to a folder, and for some exercises the solution of that name."""
    folder.mkdir(parents=True)
    for exercise in catalogue().names:
        name = solutions.get(exercise)
        source = source_of(exercise, name) if name else catalogue().stub(exercise)
        (folder / f"{exercise}.py").write_text(source, encoding="utf-8")
    return folder


def pytest_on(impl: Path | str, *arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess:
    """Run pytest on an implementation."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--impl={impl}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)
