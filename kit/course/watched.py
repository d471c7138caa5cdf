"""Exercises that are checked whenever they are saved."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kit.course.board import CheckRun
from kit.course.catalogue import catalogue
from kit.course.prices import Prices
from kit.judge.catalogue import Check
from kit.judge.runner import Runner, Verdict
from kit.parts.implementation import find_parts

#: Compiling for a TPU takes ten times as long as all other checks of an exercise.
LEFT_OUT = "tpu_compile"


@dataclass(frozen=True)
class Outcome:
    """The verdicts on an exercise, up to the first that is not good."""

    exercise: str
    verdicts: tuple[Verdict, ...]
    #: Checks that were to be run.
    checks: int
    #: Checks of the layer that is left out.
    left_out: int
    seconds: float
    #: What was learned and what to do next, if all passed; and why results were not kept.
    afterwards: tuple[str, ...] = ()

    @property
    def failed(self) -> Verdict | None:
        """The first verdict that is not good."""
        return next((verdict for verdict in self.verdicts if not verdict.passed), None)

    def as_line(self) -> str:
        """How many checks passed, how long they took, and what the first failed check asks."""
        if self.failed is None:
            return f"{self.exercise}: all {self.checks} passed, {self.seconds:.1f} s"
        passed = len(self.verdicts) - 1
        return (
            f"{self.exercise}: {passed} of {self.checks} passed, {self.seconds:.1f} s; next: {self.failed.check.asks}"
        )


class Watched:
    """The files of some exercises, and their checks."""

    def __init__(self, runner: Runner, impl: str, exercises: Sequence[str]) -> None:
        """Watch exercises of ``impl``, which is as ``--impl`` takes it, from now on."""
        self._runner = runner
        self._impl = impl
        self._parts = find_parts(impl)
        self.exercises = tuple(exercises)
        self._prices = Prices(runner, impl)
        self._stamps = {name: self._stamp(name) for name in self.exercises}

    def _stamp(self, exercise: str) -> tuple[int, int]:
        try:
            state = Path(self._parts.file_of(exercise)).stat()
        except OSError:  # an editor may replace the file
            return 0, 0
        return state.st_mtime_ns, state.st_size

    def saved(self) -> list[str]:
        """The exercises that were saved since :meth:`take_saved` or since the start."""
        return [name for name in self.exercises if self._stamp(name) != self._stamps[name]]

    def take_saved(self) -> list[str]:
        """As :meth:`saved`; the next call has only what is saved after this one."""
        saved = self.saved()
        self._stamps |= {name: self._stamp(name) for name in saved}
        return saved

    def check(self, exercise: str, report: Callable[[int, int, Check], None]) -> Outcome:
        """Check an exercise up to the first check that fails.

        ``report`` is called before each check with the number of those done, and that of all.
        Raises :class:`kit.judge.runner.Stopped` if the runner is asked to stop.
        """
        started = time.perf_counter()
        every = catalogue().checks_of(exercise)
        checks = [check for check in every if check.layer != LEFT_OUT]
        self._runner.forget(self._impl)
        # A second core runs the checks from the last one on; verdicts still come in order.
        self._runner.begin((self._impl, check) for check in reversed(checks))
        verdicts: list[Verdict] = []
        check_run = CheckRun(self._impl, [exercise])
        for number, check in enumerate(checks):
            report(number, len(checks), check)
            verdicts.append(self._runner.run(self._impl, check))
            check_run.add(verdicts[-1])
            if not verdicts[-1].passed:
                break
        seconds = time.perf_counter() - started
        check_run.close()
        afterwards = [*(check_run.closing_lines([exercise]) if verdicts[-1].passed else ()), check_run.problem]
        left_out = len(every) - len(checks)
        return Outcome(exercise, tuple(verdicts), len(checks), left_out, seconds, tuple(filter(None, afterwards)))

    def prices(self, outcome: Outcome) -> Iterator[str]:
        """What the exercise costs, a line at a time; nothing if it is not written yet.

        Raises :class:`kit.judge.runner.Stopped` if the runner is asked to stop.
        """
        return iter(()) if outcome.failed and outcome.failed.is_open else self._prices.lines(outcome.exercise)

    def stop(self) -> None:
        """Stop what still runs in the background."""
        self._runner.forget(self._impl)
