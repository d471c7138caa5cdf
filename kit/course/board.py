"""Where a learner is in the course: the state of each exercise, and the next step.

It reads files and results, and judges nothing. Imports no framework.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from kit.checks.codes import NOT_IMPLEMENTED
from kit.course.catalogue import catalogue
from kit.course.results import Prediction, Recorder, Result, Results, ResultsFile, current, module_hash
from kit.course.workspace import Workspace, workspace_of
from kit.errors import UserError
from kit.judge.catalogue import LAYERS, Check, Exercise, available
from kit.parts.implementation import EXERCISES

if TYPE_CHECKING:
    from kit.judge.runner import Verdict

#: "missing": no file. "not checked": written, without a result. "changed since": the results are of
#: another version of the module. "begun": what was checked passes, and more is to be written or
#: checked.
State = Literal["missing", "not started", "not checked", "changed since", "begun", "failing", "passed"]


@dataclass(frozen=True)
class Row:
    """What the board shows of an exercise."""

    number: int
    exercise: str
    minutes: int
    advanced: bool
    state: State
    #: Checks that pass now, of those that this machine can run.
    passed: int
    checks: int
    #: Layers of which all checks pass now.
    layers: tuple[str, ...]
    #: Right predictions, and all that were made.
    predicted: tuple[int, int]
    #: More about the state in one line, such as the code and the cause of the diagnosis; may be
    #: empty.
    note: str = ""


@dataclass(frozen=True)
class Step:
    """What to do next."""

    sentence: str
    #: The command to type.
    command: str


@dataclass(frozen=True)
class Board:
    """The state of all exercises of a folder."""

    rows: tuple[Row, ...]
    next_step: Step
    #: A sentence if earlier results cannot be read; empty if all is well.
    problem: str = ""

    @property
    def passed(self) -> tuple[str, ...]:
        """The exercises that are passed."""
        return tuple(row.exercise for row in self.rows if row.state == "passed")

    def row(self, exercise: str) -> Row:
        """The row of an exercise."""
        (found,) = [row for row in self.rows if row.exercise == exercise]
        return found


def read_board(workspace: Workspace, impl: str = EXERCISES) -> Board:
    """The board of a workspace; ``impl`` is its name as the user wrote it, for commands."""
    results, predictions, problem = ResultsFile(workspace).read_all()
    rows = tuple(
        _row(workspace, exercise, results, predictions.get(exercise.name, {})) for exercise in catalogue().exercises
    )
    return Board(rows, _next_step(workspace, rows, impl), problem)


class CheckRun:
    """A run of checks on a folder: keeps the verdicts, and knows what to say afterwards.

    Where the folder is no learner's, it keeps and says nothing.
    """

    def __init__(self, impl: str, exercises: Sequence[str] | None = None) -> None:
        """Read what was passed before. ``exercises`` are those that may be checked, or all.

        Raises UserError if there is no such folder.
        """
        self._impl = impl
        self._workspace = workspace_of(impl)
        names = [exercise.name for exercise in catalogue().everything] if exercises is None else exercises
        self._recorder = Recorder(self._workspace, names)
        self._passed_before: tuple[str, ...] = ()
        if self._workspace is not None:
            self._passed_before = passed_exercises(self._workspace, ResultsFile(self._workspace).read()[0])

    def add(self, verdict: "Verdict") -> None:
        """Keep a verdict."""
        self._recorder.add(verdict)

    def close(self) -> None:
        """Write what has not been written yet."""
        self._recorder.flush()

    @property
    def problem(self) -> str:
        """Why results are not kept, or what happened to their file; empty if all is well."""
        return self._recorder.problem

    def closing_lines(self, judged: Collection[str]) -> list[str]:
        """What to read after the checks of these exercises, for which all verdicts are written.

        What was learned, for a single exercise and for those that have just been passed; how many
        are passed; and the next command.
        """
        if self._workspace is None or not judged:
            return []
        board = read_board(self._workspace, self._impl)
        passed = [name for name in board.passed if name in judged]
        if len(judged) > 1:
            passed = [name for name in passed if name not in self._passed_before]
        return [
            *(f"{name}: passed. {catalogue().find(name).learned}" for name in passed),
            f"{len(board.passed)} of {len(board.rows)} exercises passed. {board.next_step.sentence}",
            f"Next: {board.next_step.command}",
        ]


def passed_exercises(workspace: Workspace, results: Results) -> tuple[str, ...]:
    """The exercises of which all checks pass, by these results."""
    return tuple(exercise.name for exercise in catalogue().exercises if _is_passed(workspace, exercise, results))


def _is_passed(workspace: Workspace, exercise: Exercise, results: Results) -> bool:
    checks = available(exercise.checks)
    return _all_pass(checks, _current_results(workspace, exercise, checks, results))


def _current_results(
    workspace: Workspace, exercise: Exercise, checks: Sequence[Check], results: Results
) -> dict[Check, Result]:
    """The results of checks on the module as it is now."""
    module = module_hash(workspace.folder, exercise.name)
    return {check: result for check in checks if (result := current(results, check, module)) is not None}


def _all_pass(checks: Sequence[Check], found: dict[Check, Result]) -> bool:
    """Whether each check has a result, and passes."""
    return bool(checks) and len(found) == len(checks) and all(result.passed for result in found.values())


def _row(workspace: Workspace, exercise: Exercise, results: Results, predictions: dict[str, Prediction]) -> Row:
    checks = available(exercise.checks)
    found = _current_results(workspace, exercise, checks, results)
    passed = [check for check in found if found[check].passed]
    layers = [
        layer
        for layer in LAYERS
        if (of_layer := [check for check in checks if check.layer == layer]) and set(of_layer) <= set(passed)
    ]
    state, note = _state(workspace, exercise, checks, found, results.get(exercise.name, {}))
    return Row(
        exercise.number,
        exercise.name,
        exercise.minutes,
        exercise.advanced,
        state,
        len(passed),
        len(checks),
        tuple(layers),
        (sum(prediction.right for prediction in predictions.values()), len(predictions)),
        note,
    )


def _state(
    workspace: Workspace,
    exercise: Exercise,
    checks: Sequence[Check],
    found: dict[Check, Result],
    ever: dict[str, Result],
) -> tuple[State, str]:
    if _all_pass(checks, found):
        return "passed", ""
    try:
        written = workspace.state(exercise.name)
    except UserError as error:
        return "not checked", str(error)
    if written == "missing":
        return "missing", f"`kit reset {exercise.name}` writes the stub"
    if written == "to do":
        return "not started", ""
    failed = [found[check] for check in checks if check in found and not found[check].passed]
    mistakes = [result for result in failed if result.code != NOT_IMPLEMENTED]
    if mistakes:
        return "failing", f"{mistakes[0].code}: {mistakes[0].cause}"
    if failed:
        return "begun", failed[0].cause
    if found:
        left = [layer for layer in LAYERS if any(check.layer == layer and check not in found for check in checks)]
        return "begun", f"not checked yet: {', '.join(left)}"
    if ever:
        return "changed since", _before(list(ever.values()))
    return "not checked", "this is not Python" if written == "not Python" else ""


def _before(results: list[Result]) -> str:
    """What older results say."""
    failed = [result.code for result in results if not result.passed]
    return f"before: {failed[0]}" if failed else "it passed before"


def option(impl: str) -> str:
    """What a command needs so that it takes this folder, with a space before it."""
    return "" if impl == EXERCISES else f" --impl={impl}"


def _next_step(workspace: Workspace, rows: Sequence[Row], impl: str) -> Step:
    at_work = [row for row in rows if row.state not in ("passed", "not started", "missing")]
    if at_work:
        # The file that was saved last is the one that the learner was busy with.
        row = max(at_work, key=lambda row: _saved(workspace.file_of(row.exercise)))
        return Step(_about(row), f"kit check {row.exercise}{option(impl)}")
    run = f"kit run --impl {impl}"
    to_start = [row for row in rows if row.state != "passed"]
    if not to_start:
        return Step("This runs what you wrote as one program.", run)
    row = to_start[0]
    if row.state == "missing":
        folder = "" if impl == EXERCISES else f" --folder={impl}"
        return Step(f"{row.exercise}.py is missing: this writes the stub.", f"kit reset {row.exercise}{folder}")
    if row.advanced and all(other.advanced or other.state == "passed" for other in rows):
        return Step(f"`{run}` runs what you wrote as one program.", f"kit lesson {row.exercise}")
    return Step(f"{row.exercise} takes about {row.minutes} minutes.", f"kit lesson {row.exercise}")


def _saved(file: Path) -> float:
    """When a file was saved; 0 if that is not known."""
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0


def _about(row: Row) -> str:
    if row.state == "failing":
        return f"{row.exercise} fails: {row.note.partition(':')[0]}."
    if row.state == "begun":
        return f"{row.exercise}: {row.note.rstrip('.')}."
    return f"{row.exercise} has {'changed since it was' if row.state == 'changed since' else 'not been'} checked."
