"""The tagged regions of the reference, from which the stubs are cut.

A region of the reference begins with ``# region task N``, goes on with the task's text in lines that begin with ``#:``, and
ends with ``# endregion``. In the stub its place is taken by that text and a ``raise NotImplementedError``.
"""

import re
from dataclasses import dataclass

_BEGIN = re.compile(r"(\s*)# region task (\d+)\s*")
_END = re.compile(r"\s*# endregion\s*")
_TEXT = re.compile(r"\s*#: ?(.*)")


@dataclass(frozen=True)
class Region:
    """One gap of an exercise: what the learner writes."""

    task: int
    #: What to write, as the stub says it.
    text: tuple[str, ...]
    indent: str
    #: Lines of the solution within the file, the tags and the text not among them; counted from 0, the end excluded.
    start: int
    stop: int
    #: Line of the tag, counted from 0.
    tag: int


def find_regions(source: str) -> list[Region]:
    """The regions of a module of the reference, in their order.

    Raises:
        ValueError: if a region is not closed, has no text, or is out of order.

    """
    lines = source.splitlines()
    found: list[Region] = []
    position = 0
    while position < len(lines):
        begin = _BEGIN.fullmatch(lines[position])
        if begin is None:
            if _END.fullmatch(lines[position]):
                raise ValueError(f"line {position + 1}: a region ends that has not begun")
            position += 1
            continue
        tag = position
        position += 1
        text = []
        while position < len(lines) and (match := _TEXT.fullmatch(lines[position])):
            text.append(match[1])
            position += 1
        start = position
        while position < len(lines) and not _END.fullmatch(lines[position]):
            if _BEGIN.fullmatch(lines[position]):
                raise ValueError(f"line {position + 1}: a region begins within another")
            position += 1
        if position == len(lines) or not text or int(begin[2]) != len(found) + 1:
            raise ValueError(
                f"line {tag + 1}: this region is not closed, has no text in lines with '#:', or is out of order"
            )
        found.append(Region(int(begin[2]), tuple(text), begin[1], start, position, tag))
        position += 1
    return found


def cut(source: str, exercise: str) -> str:
    """The stub of a module of the reference: the same text, with a task in the place of each region."""
    lines = source.splitlines()
    kept: list[str] = []
    position = 0
    for region in find_regions(source):
        kept += lines[position : region.tag]
        first, *rest = region.text
        kept.append(f"{region.indent}# Task {region.task}: {first}")
        kept += [f"{region.indent}# {line}" for line in rest]
        kept.append(f'{region.indent}raise NotImplementedError("{exercise}, task {region.task}")')
        position = region.stop + 1
    return "\n".join(kept + lines[position:]) + "\n"


def without_tags(source: str) -> str:
    """A module of the reference as a solution to read: without the regions' tags and texts."""
    lines = source.splitlines()
    dropped = set()
    for region in find_regions(source):
        dropped |= {region.stop, *range(region.tag, region.start)}
    return "\n".join(line for number, line in enumerate(lines) if number not in dropped) + "\n"
