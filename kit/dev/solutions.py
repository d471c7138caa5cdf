"""Solutions with a known verdict, as differences from the reference or from the stub.

``tests/solutions/<exercise>.toml`` has a table for each solution, named after it:

- ``codes``: the code that the first failing check must give, then codes that later checks may give;
  ``["PASSES"]`` for a right one.
- ``why``: what is wrong, or how it differs from the reference.
- ``headline``: text that the cause of the first diagnosis must have.
- ``mistakes``: names of the recognised mistakes that the first diagnosis must have, and no others.
- ``edits``: old text = new text, each old text once in the reference.
- ``tasks``: number of a task = the code in its place; the other tasks are those of the reference.
- ``definitions``: functions that replace those of the same name.
- ``before``: code for the top of the module, after the imports.
- ``over = "stub"``: the tasks that are not given stay open.
- ``layer``: only the checks of this layer are run.
- ``functions``: only the checks of these functions are run. By default those of all functions that
  differ.
- ``limit``: seconds in place of the checks' limits.
- ``part``: for a whole run, the part that differs.

A solution without a difference is a file: ``tests/solutions/<exercise>/<name>.py``.
"""

import ast
import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from kit.course.catalogue import catalogue
from kit.course.lessons import REFERENCE_FOLDER
from kit.course.regions import without_tags
from kit.dev.tasks import fill_tasks, solved_tasks
from kit.errors import UserError
from kit.judge.catalogue import WHOLE_RUN, Check, available
from kit.parts.open_tasks import functions_in
from kit.parts.protocols import PARTS

PASSES = "PASSES"
_KEYS = {
    "codes",
    "why",
    "edits",
    "tasks",
    "definitions",
    "before",
    "over",
    "layer",
    "functions",
    "part",
    "headline",
    "mistakes",
    "limit",
}


@dataclass(frozen=True)
class Solution:
    """A wrong solution, or a right one that differs from the reference."""

    exercise: str
    name: str
    #: The code that it must get first, and others that further checks may give it; ("PASSES",) for
    #: a right one.
    codes: tuple[str, ...]
    why: str
    #: The content of its module.
    source: str
    #: The only layer whose checks are run; empty for all.
    layer: str = ""
    #: The functions whose checks are run; empty for all.
    functions: tuple[str, ...] = ()
    #: For a whole run the part that differs from the reference; else the exercise.
    part: str = ""
    #: Text that the cause of the first diagnosis must have.
    headline: str = ""
    #: The recognised mistakes of the first diagnosis.
    mistakes: tuple[str, ...] = ()
    #: Seconds in place of the checks' limits; None for these.
    limit: float | None = None

    @property
    def passes(self) -> bool:
        """Whether it is right."""
        return self.codes == (PASSES,)

    @cached_property
    def checks(self) -> tuple[Check, ...]:
        """The checks that it is tried with: those of the functions that differ."""
        ours = [check for check in available(catalogue().checks_of(self.exercise)) if check.layer != "tpu"]
        if self.limit is not None:
            ours = [dataclasses.replace(check, limit=self.limit) for check in ours]
        checks = tuple(check for check in ours if self.layer in ("", check.layer))
        return tuple(check for check in checks if check.function in self.functions) or checks

    def write(self, folder: Path) -> Path:
        """Create a folder for `--impl` with this solution; for a whole run, with all parts."""
        folder.mkdir(parents=True)
        if self.exercise == WHOLE_RUN:
            for part in PARTS:
                (folder / f"{part}.py").write_text(f"from kit.reference.{part} import *\n", encoding="utf-8")
        (folder / f"{self.part}.py").write_text(self.source, encoding="utf-8")
        return folder


def read_solutions(folder: Path) -> list[Solution]:
    """All solutions in a folder with a TOML file for each exercise, by exercise and name.

    Raises UserError if a solution is not described as this module says.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder. Name a folder with a TOML file for each exercise.")
    return [
        _read(folder, exercise, name, entry)
        for exercise in (*catalogue().names, WHOLE_RUN)
        for name, entry in _entries(folder, exercise).items()
    ]


def find_solution(folder: Path, exercise: str, name: str) -> Solution:
    """The solution of that name.

    Raises UserError if there is none, or if it is not described as this module says.
    """
    entries = _entries(folder, exercise)
    if name not in entries:
        raise UserError(f"{folder}: {exercise} has no solution {name!r}.")
    return _read(folder, exercise, name, entries[name])


def _entries(folder: Path, exercise: str) -> dict[str, dict[str, Any]]:
    file = folder / f"{exercise}.toml"
    return tomllib.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def _read(folder: Path, exercise: str, name: str, entry: dict[str, Any]) -> Solution:
    try:
        return _from_entry(folder, exercise, name, entry)
    except (KeyError, ValueError, OSError) as error:
        raise UserError(f"{folder / f'{exercise}.toml'}, {name}: {error}") from None


def _from_entry(folder: Path, exercise: str, name: str, entry: dict[str, Any]) -> Solution:
    codes = tuple(entry["codes"])
    if not codes or (unknown := [code for code in codes if code not in (*catalogue().codes, PASSES)]):
        raise ValueError(f"unknown codes {unknown if codes else codes}")
    if extra := entry.keys() - _KEYS:
        raise ValueError(f"unknown keys {sorted(extra)}")
    part = entry.get("part", exercise)
    if entry.keys() & {"edits", "tasks", "definitions", "before"}:
        base, source = _as_difference(part, entry)
    else:
        base, source = "", (folder / exercise / f"{name}.py").read_text(encoding="utf-8")
    functions = tuple(entry["functions"]) if "functions" in entry else _differing(part, base, source)
    return Solution(
        exercise,
        name,
        codes,
        entry["why"],
        source,
        entry.get("layer", ""),
        functions,
        part,
        entry.get("headline", ""),
        tuple(entry.get("mistakes", ())),
        entry.get("limit"),
    )


def _as_difference(part: str, entry: Mapping[str, Any]) -> tuple[str, str]:
    """What the solution differs from, and its source."""
    tasks = entry.get("tasks", {})
    if entry.get("over") == "stub":
        return catalogue().stub(part), _with_top(fill_tasks(part, tasks), entry.get("before", ""))
    base = without_tags((REFERENCE_FOLDER / f"{part}.py").read_text(encoding="utf-8"))
    source = fill_tasks(part, solved_tasks(part) | tasks) if tasks else base
    for old, new in entry.get("edits", {}).items():
        if source.count(old) != 1:
            raise ValueError(f"{old!r} occurs {source.count(old)} times")
        source = source.replace(old, new)
    return base, _with_top(_with_definitions(source, entry.get("definitions", "")), entry.get("before", ""))


def _with_definitions(source: str, definitions: str) -> str:
    """The source, with these functions in the place of those of the same name."""
    for name, function in functions_in(definitions).items():
        replaced = functions_in(source)[name]
        lines, written = source.splitlines(), ast.get_source_segment(definitions, function) or ""
        lines[replaced.lineno - 1 : replaced.end_lineno] = written.splitlines()
        source = "\n".join(lines) + "\n"
    return source


def _with_top(source: str, before: str) -> str:
    """The source, with this code before its first function."""
    if not before:
        return source
    first = min(function.lineno for function in functions_in(source).values()) - 1
    lines = source.splitlines()
    return "\n".join([*lines[:first], before.strip("\n"), "", "", *lines[first:]]) + "\n"


def _differing(exercise: str, base: str, source: str) -> tuple[str, ...]:
    """The functions that differ from the base or use such a helper; none if it is not Python."""
    try:
        functions = functions_in(source)
    except SyntaxError:
        return ()
    required = {function.name for function in catalogue().find(exercise).functions}
    before = {name: ast.dump(function) for name, function in functions_in(base).items()}
    found = {name for name, function in functions.items() if ast.dump(function) != before.get(name)}
    while (
        users := {
            name
            for name, function in functions.items()
            if (found - required) & {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
        }
        - found
    ):
        found |= users
    return tuple(name for name in functions if name in found)
