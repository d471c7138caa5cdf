"""The course: its exercises in their order, with their hints, lessons and solutions as text. Imports no framework."""

import functools
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from kit.course.regions import REFERENCE_FOLDER, without_tags
from kit.errors import UserError

COURSE_FILE = Path(__file__).parent / "course.toml"
LESSONS_FOLDER = Path(__file__).parent / "lessons"


@dataclass(frozen=True)
class Exercise:
    """One exercise of the course: what a learner is told about it before reading its lesson."""

    #: As the learner types it, for example "mesh".
    name: str
    title: str
    #: 1 to 3.
    difficulty: int
    #: For a Python programmer to whom sharding is new, the lesson's reading included.
    minutes: int
    #: Exercises whose lessons are taken as read.
    prerequisites: tuple[str, ...]
    #: From a nudge to the shape of the solution.
    hints: tuple[str, ...]


@functools.cache
def course() -> tuple[Exercise, ...]:
    """The exercises, in the order of the course."""
    tables = tomllib.loads(COURSE_FILE.read_text(encoding="utf-8"))
    return tuple(
        Exercise(
            name=name,
            title=table["title"],
            difficulty=table["difficulty"],
            minutes=table["minutes"],
            prerequisites=tuple(table["prerequisites"]),
            hints=tuple(hint.strip() for hint in table["hints"]),
        )
        for name, table in tables.items()
    )


def find_exercise(name: str | None) -> Exercise:
    """The exercise of that name.

    Raises:
        UserError: if there is none, or if no name was given.

    """
    for exercise in course():
        if exercise.name == name:
            return exercise
    there_is = ", ".join(exercise.name for exercise in course())
    if name is None:
        raise UserError(f"Which exercise? There is {there_is}.")
    raise UserError(f"There is no exercise {name!r}: there is {there_is}.")


def lesson(name: str) -> str:
    """The lesson of an exercise, as Markdown.

    Raises:
        UserError: if there is no such exercise.

    """
    return (LESSONS_FOLDER / f"{find_exercise(name).name}.md").read_text(encoding="utf-8")


def sections(name: str) -> dict[str, str]:
    """The sections of a lesson: each heading of level 2, and its text with the heading, as Markdown.

    Raises:
        UserError: if there is no such exercise.

    """
    found: dict[str, list[str]] = {}
    within_code = False
    heading = ""
    for line in lesson(name).splitlines():
        if line.startswith("```"):
            within_code = not within_code
        # A comment of an example is no heading.
        if line.startswith("## ") and not within_code:
            heading = line.removeprefix("## ").strip()
        if heading:
            found.setdefault(heading, []).append(line)
    return {heading: "\n".join(lines).rstrip() + "\n" for heading, lines in found.items()}


def section(name: str, heading: str) -> str:
    """One section of a lesson, as Markdown; capitals and the marks at the end of a heading do not matter.

    Raises:
        UserError: if there is no such exercise, or no such heading in its lesson.

    """
    found = sections(name)
    for candidate, text in found.items():
        if _plain(candidate) == _plain(heading):
            return text
    raise UserError(f"The lesson {name} has no heading {heading!r}: it has {', '.join(found)}.")


def solution(name: str) -> str:
    """The solution of an exercise as it is read, without the tags of its tasks. It is not imported.

    Raises:
        UserError: if there is no such exercise, or if this copy of the kit has no solutions.

    """
    file = REFERENCE_FOLDER / f"{find_exercise(name).name}.py"
    try:
        return without_tags(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"This copy of the kit has no solutions ({file} is missing): ask who gave it to you.") from None


def _plain(heading: str) -> str:
    return re.sub(r"\W+$", "", heading.strip()).casefold()
