"""The coordinates of the held-out log-likelihood along a training. It draws nothing."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from kit.report.loss_curve import Tick, nice_numbers, steps_to_label, svg_path
from kit.run.training_evidence import HeldOutScore


@dataclass(frozen=True)
class HeldOutCurve:
    """The curve of the scores, in their order."""

    scores: tuple[HeldOutScore, ...]
    #: The commands of an SVG path.
    path: str
    across: tuple[Tick, ...]
    down: tuple[Tick, ...]


def held_out_curve(scores: Sequence[HeldOutScore]) -> HeldOutCurve | None:
    """The curve through the scores; None for fewer than two that are finite."""
    scores = sorted(scores, key=lambda score: score.step)
    finite = [score.log_likelihood for score in scores if math.isfinite(score.log_likelihood)]
    if len(finite) < 2:
        return None
    down = nice_numbers(min(finite), max(finite))
    first, last = scores[0].step, scores[-1].step

    def across(step: float) -> float:
        return (step - first) / max(1, last - first)

    def below(value: float) -> float:
        return (down[-1] - value) / (down[-1] - down[0])

    digits = max(0, -math.floor(math.log10(down[1] - down[0])))
    return HeldOutCurve(
        tuple(scores),
        svg_path([(across(score.step), below(score.log_likelihood)) for score in scores]),
        tuple(Tick(f"{number:,}", 100 * across(number)) for number in steps_to_label(first, last)),
        tuple(Tick(f"{number:.{digits}f}".replace("-", "−"), 100 * below(number)) for number in down),
    )
