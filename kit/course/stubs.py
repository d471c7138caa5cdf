"""Stubs: what a learner starts from, cut from the reference by its tagged regions.

A region of the reference begins with ``# region task N``, goes on with the task's text in lines that begin with ``#:``, and
ends with ``# endregion``. In the stub its place is taken by that text and a ``raise NotImplementedError``.
"""

import ast
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

#: The stubs as they were cut: what `kit reset` brings back, also where the reference is not there.
STUBS_FOLDER = Path(__file__).parent / "stubs"
REFERENCE_FOLDER = Path(__file__).parents[1] / "reference"

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


def functions_in(source: str) -> dict[str, ast.FunctionDef]:
    """The functions at the top of a module, by name.

    Raises:
        SyntaxError: if the source is not Python.

    """
    return {node.name: node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)}


def untouched(source: str, exercise: str) -> dict[str, int]:
    """The functions of a learner's file that are as the stub has them, with the line of the first task in each.

    Whether anything else is implemented can only be said by running it: a name may come from anywhere.

    Raises:
        SyntaxError: if the file is not Python.

    """
    here = functions_in(source)
    stub = STUBS_FOLDER / f"{exercise}.py"
    if not stub.is_file():
        return {}
    found = {}
    for name, function in functions_in(stub.read_text(encoding="utf-8")).items():
        raises = [node.lineno for node in ast.walk(here.get(name, function)) if isinstance(node, ast.Raise)]
        is_gap = any(isinstance(node, ast.Raise) and "task " in ast.unparse(node) for node in ast.walk(function))
        if is_gap and name in here and ast.dump(here[name]) == ast.dump(function):
            found[name] = min(raises)
    return found


def missing_functions(source: str, exercise: str) -> dict[str, int]:
    """The functions of a learner's file in which a task is still open, or which use one of those, with the task's line.

    Raises:
        SyntaxError: if the file is not Python.

    """
    functions = functions_in(source)
    missing = {
        name: min(node.lineno for node in ast.walk(function) if _is_open_task(node, exercise))
        for name, function in functions.items()
        if any(_is_open_task(node, exercise) for node in ast.walk(function))
    }
    found: dict[str, int] = {}
    while found != missing:
        found = dict(missing)
        for name, function in functions.items():
            used = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)} & found.keys()
            if used and name not in missing:
                missing[name] = min(found[other] for other in used)
    return missing


def _is_open_task(node: ast.AST, exercise: str) -> TypeGuard[ast.Raise]:
    return (
        isinstance(node, ast.Raise)
        and isinstance(node.exc, ast.Call)
        and ast.unparse(node.exc).startswith(f"NotImplementedError('{exercise}, task ")
    )
