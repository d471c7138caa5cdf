"""What `kit check` runs: which checks, in which order, and when it stops. Imports no framework."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from kit.checks.diagnosis import Diagnosis
from kit.course.board import CheckRun, option, read_board
from kit.course.catalogue import catalogue
from kit.course.workspace import shown, workspace_of
from kit.errors import UserError, unknown_name
from kit.judge.catalogue import LAYERS, WHOLE_RUN, Check, available, not_checked
from kit.judge.runner import Runner, Verdict
from kit.parts.implementation import find_parts
from kit.runtime.platform import Platform


@dataclass(frozen=True)
class Answer:
    """The verdict of a check, and what is new in it."""

    verdict: Verdict
    #: Number of the check, from 1, and of all checks of the exercise.
    number: int
    checks: int
    #: Whether an earlier check of this command gave the same diagnosis.
    is_repeated: bool


def checks_to_run(
    exercise: str | None, layers: Sequence[str], everything: bool, impl: str, platform: Platform
) -> dict[str, list[Check]]:
    """The checks of each exercise, in the order of the course.

    Without an exercise they are of those that are begun and have not passed, or of the next one;
    ``everything`` means all. Raises UserError for unknown names, or if there is nothing to check.
    """
    for layer in layers:
        if layer not in LAYERS:
            raise unknown_name("layer", layer, LAYERS)
    if exercise is not None:
        names = [WHOLE_RUN if exercise == WHOLE_RUN else catalogue().find(exercise).name]
    else:
        names = list(catalogue().names if everything else _to_do(impl))
    chosen = {
        name: [
            check
            for check in available(catalogue().checks_of(name))
            if (not layers or check.layer in layers) and (check.layer != "tpu" or platform == "tpu")
        ]
        for name in names
    }
    if not any(chosen.values()):
        sentence = not_checked([check for name in names for check in catalogue().checks_of(name)])
        of_layer = f" in the layer {', '.join(layers)}" if layers else ""
        raise UserError(f"There is nothing to check{of_layer}: {', '.join(names)}. {sentence}".rstrip())
    return {name: checks for name, checks in chosen.items() if checks}


def answers(
    runner: Runner,
    checks: dict[str, list[Check]],
    impl: str,
    check_run: CheckRun,
    begins: Callable[[Check, int, int], None],
    everything: bool = False,
) -> Iterator[Answer]:
    """Run checks and keep their verdicts, up to the first mistake, or ``everything``.

    A function that is not written yet is no mistake: what is written is checked all the same.
    ``begins`` is called before each with its number and the number of the exercise's checks.
    """
    seen: set[tuple[str, Diagnosis]] = set()
    if everything:
        runner.begin((impl, check) for of_exercise in reversed(checks.values()) for check in reversed(of_exercise))
    for of_exercise in checks.values():
        if not everything:
            # A second core runs the checks from the last one on.
            runner.begin((impl, check) for check in reversed(of_exercise))
        for number, check in enumerate(of_exercise, 1):
            begins(check, number, len(of_exercise))
            verdict = runner.run(impl, check)
            check_run.add(verdict)
            diagnosis = verdict.diagnosis
            yield Answer(verdict, number, len(of_exercise), (check.exercise, diagnosis) in seen)
            if diagnosis is not None:
                seen.add((check.exercise, diagnosis))
                if not everything and not verdict.is_open:
                    return
        if seen and not everything:
            return


def what_to_do(failed: Verdict, impl: str) -> str:
    """One line about what to do after a check that failed."""
    exercise, diagnosis = failed.check.exercise, failed.diagnosis
    assert diagnosis is not None
    if diagnosis.is_no_verdict:
        return f"Next: {diagnosis.remedy}"
    again = f"kit check {exercise}{option(impl)}"
    if exercise == WHOLE_RUN:
        return f"Next: {diagnosis.remedy or 'write all parts'} Then run `{again}` again."
    file, _, line = diagnosis.location.rpartition(":")
    place = shown(find_parts(impl).folder / (file or f"{exercise}.py")) + (line and f":{line}")
    if failed.is_open:
        return f"Next: write {failed.check.function} ({place}); `kit lesson {exercise}` explains what it is about."
    return f"Next: look at {place}, then run `{again}`; `kit hint {exercise}` has a hint."


def _to_do(impl: str) -> Sequence[str]:
    workspace = workspace_of(impl)
    if workspace is None:
        return catalogue().names
    rows = [row for row in read_board(workspace, impl).rows if row.state != "passed"]
    begun = [row.exercise for row in rows if row.state not in ("not started", "missing")]
    return begun or [row.exercise for row in rows[:1]] or catalogue().names
