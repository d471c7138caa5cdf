"""A new exercise needs only its folder, its reference and its solutions."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from exercise_folder import ROOT

EXERCISE = '''
"""The exercise ``toy`` as data."""

from typing import Protocol

from kit.judge.catalogue import Exercise


class ToyExercise(Protocol):
    """The functions of the exercise."""

    def double(self, number: int) -> int:
        """Twice the number."""

    def greet(self, name: str) -> str:
        """A greeting."""


EXERCISE = Exercise(
    number=99,
    name="toy",
    title="A toy",
    difficulty=1,
    minutes=1,
    prerequisites=(),
    contract=ToyExercise,
    hints=("Add the number to itself.", "Multiply by two.", "Return the product."),
    questions={("spec", "double", 15): {"doubles": "It returns twice the number."}},
    remedies={"Doubling": {"TOY_WRONG": "Multiply by two."}},
    advanced=True,
)
'''
CHECKS = '''
"""The checks of the exercise ``toy``."""

from kit.checks.diagnosis import Failed
from kit.judge.observation import Outcome, returned
from kit.judge.submission import Submission


def observe_doubles(submission: Submission) -> Outcome[int]:
    """What ``double(21)`` returns."""
    return submission.observe("double", 21, returns=int)


def judge_doubles(outcome: Outcome[int]) -> None:
    """It is 42."""
    number = returned(outcome)
    if number != 42:
        raise Failed("TOY_WRONG", "double(21) is not 42.", ("expected", "yours"), [(42, number)])
'''
REFERENCE = '''
"""A toy."""


def double(number: int) -> int:
    """Twice the number."""
    # region task 1
    #: Return twice the number.
    return 2 * number
    # endregion


def greet(name: str) -> str:
    """A greeting."""
    # region task 2
    #: Return a greeting with the name.
    return f"Hello, {name}!"
    # endregion
'''
LESSON = """# A toy

## What to write
`double` and `greet`.

## Doubling
Twice the number.
"""
SOLUTIONS = """
[one_more]
codes = ["TOY_WRONG"]
why = "It adds one."
tasks.1 = 'return number + 1'

[right_sum]
codes = ["PASSES"]
why = "It adds the number to itself."
tasks.1 = 'return number + number'

[right_shift]
codes = ["PASSES"]
why = "It shifts bits."
tasks.1 = 'return number << 1'
"""
FILES = {
    "kit/course/toy/__init__.py": '"""The exercise ``toy``."""\n',
    "kit/course/toy/exercise.py": EXERCISE,
    "kit/course/toy/checks.py": CHECKS,
    "kit/course/toy/lesson.md": LESSON,
    "kit/reference/toy.py": REFERENCE,
    "tests/solutions/toy.toml": SOLUTIONS,
}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the kit with the toy; `kit dev build` makes its stub and its test file."""
    folder = tmp_path_factory.mktemp("copy")
    for name in ("kit", "exercises", "tests/exercises", "tests/solutions"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    for name in ("conftest.py", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text.lstrip("\n"), encoding="utf-8")
    run(folder, "kit", "dev", "build")
    return folder


def run(copy: Path, program: str, *arguments: str) -> subprocess.CompletedProcess:
    """Run the copy's kit or pytest."""
    start = ["-c", "from kit.cli.main import main; main()"] if program == "kit" else ["-m", "pytest", "-q"]
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    command = [sys.executable, *start, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=copy, env=environment, check=False)


def test_the_course_has_it(copy: Path) -> None:
    assert "toy" in run(copy, "kit", "lesson").stdout.splitlines()[13]
    assert run(copy, "kit", "lesson", "toy", "doubling").stdout == "## Doubling\nTwice the number.\n"
    assert "toy, hint 1 of 3" in run(copy, "kit", "hint", "toy").stdout
    assert 'raise NotImplementedError("toy, task 1")' in (copy / "exercises" / "toy.py").read_text()


def test_its_checks_are_proven(copy: Path) -> None:
    finished = run(copy, "kit", "dev", "check", "toy")
    rows = [line.split() for line in finished.stdout.splitlines()[:-1]]
    assert {(row[0], row[-1]) for row in rows} == {("ok", "NOT_IMPLEMENTED"), ("ok", "PASSES"), ("ok", "TOY_WRONG")}
    assert len(rows) == 5
    assert "1 wrong solutions with 1 codes, 3 right ones, 0 problems" in finished.stdout, finished.stderr
    assert finished.returncode == 0


def test_pytest_judges_it(copy: Path) -> None:
    options = ("-p", "no:cacheprovider", "tests/exercises/test_toy.py")
    finished = run(copy, "pytest", *options)
    assert "NOT_IMPLEMENTED: exercises/toy.py::double" in finished.stdout
    assert "3 failed" in finished.stdout
    assert "3 passed" in run(copy, "pytest", "--impl=reference", *options).stdout
