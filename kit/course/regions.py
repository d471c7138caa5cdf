"""The tagged regions of the reference, from which the stubs are cut.

A region of the reference starts with ``# region task N``, continues with the text of the task in
lines that start with ``#:``, and ends with ``# endregion``. In the stub, this text and a ``raise
NotImplementedError`` replace the region.
"""

import re
from dataclasses import dataclass

_BEGIN = re.compile(r"(\s*)# region task (\d+)\s*")
_END = re.compile(r"\s*# endregion\s*")
_TEXT = re.compile(r"\s*#: ?(.*)")


@dataclass(frozen=True)
class Region:
    """One task of an exercise: the code that the learner writes."""

    task: int
    #: The text of the task in the stub.
    text: tuple[str, ...]
    indent: str
    #: Lines of the solution, without tags and text; counted from 0, the end excluded.
    start: int
    stop: int
    #: Line of the opening tag, counted from 0.
    tag: int


def find_regions(source: str) -> list[Region]:
    """The regions of a module of the reference, in their order.

    Raises ValueError if a region is not closed, has no text, or is out of order.
    """
    lines = source.splitlines()
    found: list[Region] = []
    position = 0
    while position < len(lines):
        begin = _BEGIN.fullmatch(lines[position])
        if begin is None:
            if _END.fullmatch(lines[position]):
                raise ValueError(f"line {position + 1}: a region ends that has not started")
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
                raise ValueError(f"line {position + 1}: a region starts within another")
            position += 1
        if position == len(lines) or not text or int(begin[2]) != len(found) + 1:
            raise ValueError(
                f"line {tag + 1}: this region is not closed, has no text in lines with '#:', or is out of order"
            )
        found.append(Region(int(begin[2]), tuple(text), begin[1], start, position, tag))
        position += 1
    return found


def cut(source: str, exercise: str) -> str:
    """The stub of a module of the reference: the same text, with a task instead of each region."""
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
    """A module of the reference without the tags and texts of its regions, as learners read it."""
    lines = source.splitlines()
    dropped = set()
    for region in find_regions(source):
        dropped |= {region.stop, *range(region.tag, region.start)}
    return "\n".join(line for number, line in enumerate(lines) if number not in dropped) + "\n"
