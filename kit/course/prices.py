"""What the last edit of an exercise costs, for `kit watch`. Imports no framework."""

from collections.abc import Iterator, Mapping

from kit.course.catalogue import catalogue
from kit.formatting import format_bytes
from kit.judge.catalogue import available
from kit.judge.runner import Runner


class Prices:
    """Measures what exercises cost, and compares with the measurement before."""

    def __init__(self, runner: Runner, impl: str) -> None:
        """Nothing is measured yet; ``impl`` is as ``--impl`` takes it."""
        self._runner = runner
        self._impl = impl
        self._before: dict[str, Mapping[str, float]] = {}

    def lines(self, exercise: str) -> Iterator[str]:
        """A line for each price of an exercise, the fast ones first, up to one that fails.

        Raises :class:`kit.judge.runner.Stopped` if the runner is asked to stop.
        """
        for check in available(catalogue().find(exercise).price_checks):
            verdict = self._runner.run(self._impl, check)
            if not verdict.passed:
                return
            yield describe(check.asks, verdict.measured, self._before.get(check.name))
            self._before[check.name] = verdict.measured


def describe(template: str, measured: Mapping[str, float], before: Mapping[str, float] | None) -> str:
    """A sentence with the figures, and how the bytes differ from those before."""
    change = ""
    if before is not None:
        by = round(measured["nbytes"] - before["nbytes"])
        change = f" ({'+' if by > 0 else '-'}{format_bytes(abs(by))})" if by else " (unchanged)"
    shown = {name: format_bytes(round(value)) if "nbytes" in name else f"{value:g}" for name, value in measured.items()}
    return template.format(change=change, **shown)
