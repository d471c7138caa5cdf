"""Proves the checks: stubs fail, the reference passes, wrong solutions get their diagnoses."""

import ast
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kit.checks.codes import NO_VERDICT, OWN_MODEL_CODES
from kit.checks.diagnosis import Diagnosis
from kit.course.catalogue import catalogue
from kit.course.lessons import REFERENCE_FOLDER, lesson
from kit.course.regions import cut, find_regions
from kit.dev.solutions import PASSES, Solution, read_solutions
from kit.errors import UserError
from kit.judge.catalogue import WHOLE_RUN, Check, available
from kit.judge.runner import Job, Runner, Verdict
from kit.parts.implementation import EXERCISES, KIT_FOLDER, REFERENCE
from kit.tpu.compiler import PROGRAMS_FOLDER

#: A check with a limit of at least this many seconds runs on a wrong solution only if the cheaper
#: ones have found nothing.
EXPENSIVE = 60
#: Shortest statement of a solution that the learner's files must not contain.
STATEMENT_LENGTH = 20
_STUB = "the stub"
_SOLVED = "the reference"


@dataclass
class Trial:
    """The verdicts on a solution."""

    name: str
    exercise: str
    expected: tuple[str, ...]
    #: Text that the cause of the first diagnosis must have.
    headline: str = ""
    #: The recognised mistakes that the first diagnosis must have.
    mistakes: tuple[str, ...] = ()
    verdicts: list[Verdict] = field(default_factory=list)

    @property
    def codes(self) -> list[str]:
        """The codes that were found, in their order, each once."""
        return list(dict.fromkeys(verdict.diagnosis.code for verdict in self.verdicts if verdict.diagnosis))

    @property
    def first(self) -> Diagnosis | None:
        """The first diagnosis."""
        return next((verdict.diagnosis for verdict in self.verdicts if verdict.diagnosis), None)

    @property
    def as_expected(self) -> bool:
        """Whether checks ran, the first diagnosis is the expected one, and all codes are expected.

        A diagnosis that names recognised mistakes must name those that were made.
        """
        if not self.verdicts:
            return False
        if self.expected == (PASSES,):
            return not self.codes
        return (
            self.first is not None
            and self.first.code == self.expected[0]
            and set(self.codes) <= set(self.expected)
            and self.headline in self.first.cause
            and set(self.first.mistakes) == set(self.mistakes)
        )

    @property
    def seconds(self) -> float:
        """The time that all of its checks took."""
        return sum(verdict.seconds for verdict in self.verdicts)

    def as_row(self) -> str:
        """A row of the matrix: ok or BAD, exercise, name, number of checks, seconds, codes."""
        wanted = ""
        if not self.as_expected:
            wanted = f"  EXPECTED {', '.join((*self.expected, *self.mistakes))} {self.headline}".rstrip()
            wanted += f"\n    GOT {', '.join(self.first.mistakes)}: {self.first.cause}" if self.first else ""
        mark = "ok " if self.as_expected else "BAD"
        return (
            f"{mark} {self.exercise:<10} {self.name:<32} {len(self.verdicts):>2} checks {self.seconds:6.1f} s  "
            f"{', '.join(self.codes) or PASSES}{wanted}"
        )


@dataclass(frozen=True)
class Proof:
    """All trials, and what is wrong."""

    trials: list[Trial]
    problems: list[str]
    seconds: float

    def as_line(self) -> str:
        """How many solutions, codes and problems there are."""
        wrong = [trial for trial in self.trials if trial.expected != (PASSES,) and trial.name != _STUB]
        right = [trial for trial in self.trials if trial.expected == (PASSES,)]
        return (
            f"{len(wrong)} wrong solutions with {len({trial.expected[0] for trial in wrong})} codes, "
            f"{len(right)} right ones, {len(self.problems)} problems; {self.seconds:.0f} s"
        )


@dataclass(frozen=True)
class ProofOptions:
    """What is checked."""

    #: Solutions at the same time.
    at_once: int = 2
    #: Also run the checks of all parts together.
    whole_runs: bool = False
    #: Also check the reference.
    with_reference: bool = True
    #: Layers whose checks are skipped.
    without_layers: tuple[str, ...] = ()
    #: Names of the solutions that are checked, without stubs and reference; empty for all.
    only: tuple[str, ...] = ()
    #: Skip solutions whose recognised mistakes take an expensive check.
    without_expensive_mistakes: bool = False

    def tries(self, solution: Solution, checks: Sequence[Check]) -> bool:
        """Whether a solution is checked."""
        if self.only:
            return solution.name in self.only
        expensive = any(check.limit >= EXPENSIVE for check in checks)
        return not (self.without_expensive_mistakes and solution.mistakes and expensive)

    def chosen(self, checks: Sequence[Check]) -> tuple[Check, ...]:
        """Those of the checks that are run."""
        return tuple(check for check in checks if check.layer not in self.without_layers)


def prove(
    exercises: Sequence[str],
    solutions_folder: Path,
    scratch: Path,
    options: ProofOptions,
    report: Callable[[Trial], None],
) -> Proof:
    """Run the checks on stubs, reference and solutions, and look for problems in the material.

    ``scratch`` is an empty folder for the solutions that are run; ``report`` is called with each
    trial when its checks are done. Raises UserError if a solution is not described as it must be.
    """
    started = time.perf_counter()
    solutions = read_solutions(solutions_folder)
    if unknown := set(options.only) - {solution.name for solution in solutions if solution.exercise in exercises}:
        raise UserError(f"{', '.join(sorted(unknown))}: {', '.join(exercises)} has no solution of this name.")
    trials: list[Trial] = []
    # Many solutions make the same program for a TPU.
    os.environ.setdefault(PROGRAMS_FOLDER, str(scratch / "tpu-programs"))

    def job(trial: Trial, checks: Sequence[Check], stop_early: bool) -> Job:
        for check in checks:
            if stop_early and trial.codes and check.limit >= EXPENSIVE:
                break
            verdict = yield check
            trial.verdicts.append(verdict)
        trials.append(trial)
        report(trial)

    def jobs() -> Iterator[tuple[str, Job]]:
        stubs = scratch / "stubs"
        stubs.mkdir()
        for exercise in () if options.only else exercises:
            (stubs / f"{exercise}.py").write_text(catalogue().stub(exercise), encoding="utf-8")
            checks = options.chosen(available(catalogue().checks_of(exercise)))
            yield str(stubs), job(Trial(_STUB, exercise, ("NOT_IMPLEMENTED",)), checks, False)
            if options.with_reference:
                yield REFERENCE, job(Trial(_SOLVED, exercise, (PASSES,)), checks, False)
        for solution in solutions:
            chosen = solution.exercise in exercises or (options.whole_runs and solution.exercise == WHOLE_RUN)
            checks = options.chosen(solution.checks) if chosen else ()
            if checks and options.tries(solution, checks):
                folder = solution.write(scratch / f"{solution.exercise}-{solution.name}")
                trial = Trial(solution.name, solution.exercise, solution.codes, solution.headline, solution.mistakes)
                yield str(folder), job(trial, checks, not solution.passes)

    with Runner(catalogue()) as runner:
        runner.run_jobs(jobs(), options.at_once)
    problems = problems_of_material(solutions)
    for trial in (trial for trial in trials if not trial.as_expected):
        problems.append(f"{trial.exercise}: {trial.name} got {', '.join(trial.codes) or PASSES}")
    return Proof(trials, problems, time.perf_counter() - started)


def problems_of_material(solutions: Sequence[Solution]) -> list[str]:
    """What is wrong with stubs, lessons, hints and solutions, found without running them."""
    return [*_problems_of_stubs(), *_problems_of_lessons(), *_problems_of_solutions(solutions)]


def _problems_of_stubs() -> Iterator[str]:
    root = KIT_FOLDER.parent
    learner_files = root / EXERCISES
    solved = {
        exercise: (REFERENCE_FOLDER / f"{exercise}.py").read_text(encoding="utf-8") for exercise in catalogue().names
    }
    for exercise, source in solved.items():
        stub = cut(source, exercise)
        for file in (learner_files / f"{exercise}.py", catalogue().stub_file(exercise)):
            if not file.is_file() or file.read_text(encoding="utf-8") != stub:
                yield (
                    f"{file.relative_to(root)} differs from what `kit dev build` cuts from kit/reference/{exercise}.py"
                )
        if not 2 <= len(find_regions(source)) <= 5:
            yield f"kit/reference/{exercise}.py has {len(find_regions(source))} tasks instead of 2 to 5"
    for file in sorted(learner_files.glob("*.py")):
        text = file.read_text(encoding="utf-8")
        for exercise, source in solved.items():
            for statement in solution_statements(source):
                if statement in text:
                    yield f"{file.relative_to(root)} has a statement of the solution of {exercise}: {statement}"


def _problems_of_lessons() -> Iterator[str]:
    for exercise in catalogue().exercises:
        if len(exercise.hints) != 3 or exercise.minutes < 1:
            yield f"kit/course/{exercise.name}/exercise.py needs three hints and the minutes"
        try:
            lesson(exercise.name)
        except (UserError, OSError) as error:
            yield f"{exercise.name} has no lesson: {error}"
    for code, content in catalogue().codes.items():
        exercise_name, _, heading = content.anchor.partition("#")
        if code not in OWN_MODEL_CODES and exercise_name and f"\n## {heading}\n" not in lesson(exercise_name):
            yield f"{code}: the lesson {exercise_name} has no heading {heading!r}"


def _problems_of_solutions(solutions: Sequence[Solution]) -> Iterator[str]:
    first_codes = {solution.codes[0] for solution in solutions}
    for code in catalogue().codes:
        if code not in {*OWN_MODEL_CODES, *NO_VERDICT} and code not in first_codes:
            yield f"{code} has no wrong solution"
    for exercise in catalogue().names:
        rights = sum(solution.passes for solution in solutions if solution.exercise == exercise)
        if rights < 2:
            yield f"{exercise} has {rights} right solutions besides the reference, and needs 2"


def solution_statements(source: str) -> set[str]:
    """The longer statements of a solution's regions, as written and as Python prints them."""
    lines = source.splitlines()
    regions = find_regions(source)
    found = set()
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.stmt) or not any(region.start < node.lineno <= region.stop for region in regions):
            continue
        written = "\n".join(lines[node.lineno - 1 : node.end_lineno]).strip()
        found |= {text for text in (written, ast.unparse(node)) if len(text) > STATEMENT_LENGTH}
    return found
