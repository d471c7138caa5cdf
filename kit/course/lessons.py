"""The lessons and solutions of the course, as text. Imports no framework."""

import re

from kit.course.catalogue import catalogue
from kit.course.regions import without_tags
from kit.errors import UserError, similar_names
from kit.parts.implementation import KIT_FOLDER

REFERENCE_FOLDER = KIT_FOLDER / "reference"


def lesson(name: str) -> str:
    """The lesson of an exercise, as Markdown. Raises UserError if there is no such exercise."""
    return catalogue().lesson_file(catalogue().find(name).name).read_text(encoding="utf-8")


def sections(name: str) -> dict[str, str]:
    """The sections of a lesson: heading of level 2 -> the section as Markdown, heading included.

    Raises UserError if there is no such exercise.
    """
    found: dict[str, list[str]] = {}
    within_code = False
    heading = ""
    for line in lesson(name).splitlines():
        if line.startswith("```"):
            within_code = not within_code
        # A comment in an example is not a heading.
        if line.startswith("## ") and not within_code:
            heading = line.removeprefix("## ").strip()
        if heading:
            found.setdefault(heading, []).append(line)
    return {heading: "\n".join(lines).rstrip() + "\n" for heading, lines in found.items()}


def section(name: str, heading: str) -> str:
    """One section of a lesson, as Markdown. Case and final punctuation of the heading are ignored.

    Raises UserError if there is no such exercise, or if its lesson has no such heading.
    """
    found = sections(name)
    for candidate, text in found.items():
        if _plain(candidate) == _plain(heading):
            return text
    close = similar_names(heading, found)
    meant = f"did you mean {' or '.join(close)}? Choose" if close else "choose"
    raise UserError(f"The lesson {name} has no heading {heading!r}: {meant} one of {', '.join(found)}.")


def solution(name: str) -> str:
    """The solution of an exercise as text, without the tags of its tasks. It is not imported.

    Raises UserError if there is no such exercise, or if this copy of the kit has no solutions.
    """
    file = REFERENCE_FOLDER / f"{catalogue().find(name).name}.py"
    try:
        return without_tags(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"This copy of the kit has no solutions ({file} is missing): ask the person who gave it to you."
        ) from None


def _plain(heading: str) -> str:
    return re.sub(r"\W+$", "", heading.strip()).casefold()
