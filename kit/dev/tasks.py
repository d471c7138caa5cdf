"""Source code with given code in the place of tasks: how authors write down solutions and walks."""

import re
import textwrap
from collections.abc import Mapping

from kit.course.catalogue import catalogue
from kit.course.lessons import REFERENCE_FOLDER
from kit.course.regions import find_regions


def fill_tasks(exercise: str, tasks: Mapping[str, str]) -> str:
    """The stub of an exercise, with code in the place of tasks: their number -> code.

    The code is without the function's indentation. Raises ValueError if the stub has no such task.
    """
    text = catalogue().stub(exercise)
    for task, code in tasks.items():
        gap = re.compile(rf'^( *)raise NotImplementedError\("{exercise}, task {task}"\)\n', re.MULTILINE)
        found = list(gap.finditer(text))
        if len(found) != 1:
            raise ValueError(f"the stub of {exercise} has {len(found)} gaps for task {task}")
        filled = textwrap.indent(code.strip("\n") + "\n", found[0][1])
        text = text[: found[0].start()] + filled + text[found[0].end() :]
    return text


def solved_tasks(exercise: str) -> dict[str, str]:
    """Number of a task -> the code of the reference, in the form that :func:`fill_tasks` takes."""
    source = (REFERENCE_FOLDER / f"{exercise}.py").read_text(encoding="utf-8")
    lines = source.splitlines()
    return {
        str(region.task): textwrap.dedent("\n".join(lines[region.start : region.stop]))
        for region in find_regions(source)
    }
