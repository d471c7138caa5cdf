"""The coordinates of the loss curve, and the steps for its table. It draws nothing."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from kit.run.metrics import StepRecord

#: The picture's own coordinates; the page scales it.
WIDTH = 1000
HEIGHT = 400
#: The most points of a line; of more steps the lowest and the highest of each run of steps are
#: drawn.
POINTS = 1000
#: Rows of the table, the first and the last step included.
ROWS = 11


@dataclass(frozen=True)
class Tick:
    """A number at an axis."""

    text: str
    #: Percent of the picture from the left or from the top.
    percent: float


@dataclass(frozen=True)
class Row:
    """A row of the table."""

    step: StepRecord
    smoothed: float


@dataclass(frozen=True)
class LossCurve:
    """The curves of the loss, and what the page says about them."""

    #: The commands of an SVG path; a step whose loss is not finite interrupts the line.
    path: str
    smoothed_path: str
    #: Steps that a point of the smoothed line is the mean of; fewer at the ends.
    window: int
    across: tuple[Tick, ...]
    down: tuple[Tick, ...]
    #: Where the run was resumed.
    resumed: tuple[Tick, ...]
    rows: tuple[Row, ...]
    lowest: StepRecord
    highest: StepRecord
    last_smoothed: float
    first_smoothed: float
    #: Steps whose loss is not finite.
    without_loss: int


def loss_curve(steps: Sequence[StepRecord], resumed: Sequence[int]) -> LossCurve | None:
    """The loss curve of these steps, in their order; None if no step has a finite loss.

    ``resumed`` are the steps after which the run was resumed.
    """
    finite = [step for step in steps if math.isfinite(step.loss)]
    if not finite:
        return None
    window = max(3, len(steps) // 10 | 1)
    means = smooth([step.loss for step in steps], window)
    low, high = min(step.loss for step in finite), max(step.loss for step in finite)
    down = nice_numbers(low, high)
    first, last = steps[0].step, steps[-1].step

    def across(number: float) -> float:
        return (number - first) / max(1, last - first)

    def below(loss: float) -> float:
        return (down[-1] - loss) / (down[-1] - down[0])

    digits = max(0, -math.floor(math.log10(down[1] - down[0])))
    shown = sorted({round(index * (len(steps) - 1) / (ROWS - 1)) for index in range(ROWS)})
    finite_means = [mean for mean in means if math.isfinite(mean)]
    return LossCurve(
        path=svg_path([(across(step.step), below(step.loss)) for step in steps]),
        smoothed_path=svg_path([(across(step.step), below(mean)) for step, mean in zip(steps, means, strict=True)]),
        window=window,
        across=tuple(Tick(f"{number:,}", 100 * across(number)) for number in steps_to_label(first, last)),
        down=tuple(Tick(f"{number:.{digits}f}", 100 * below(number)) for number in down),
        resumed=tuple(Tick(f"{number:,}", 100 * across(number)) for number in resumed if first <= number <= last),
        rows=tuple(Row(steps[index], means[index]) for index in shown),
        lowest=min(finite, key=lambda step: step.loss),
        highest=max(finite, key=lambda step: step.loss),
        first_smoothed=finite_means[0],
        last_smoothed=finite_means[-1],
        without_loss=len(steps) - len(finite),
    )


def smooth(losses: Sequence[float], window: int) -> list[float]:
    """The mean of the ``window`` values around each, an odd number; of fewer at the ends.

    Values that are not finite are left out; NaN where none is left.
    """
    half = window // 2
    # With running sums the cost does not depend on the window.
    sums, counts = [0.0], [0]
    for loss in losses:
        finite = math.isfinite(loss)
        sums.append(sums[-1] + (loss if finite else 0.0))
        counts.append(counts[-1] + finite)
    means = []
    for index in range(len(losses)):
        start, stop = max(0, index - half), min(len(losses), index + half + 1)
        count = counts[stop] - counts[start]
        means.append((sums[stop] - sums[start]) / count if count else math.nan)
    return means


def nice_numbers(low: float, high: float) -> list[float]:
    """Two to eight round numbers at equal distances, from at most ``low`` to at least ``high``."""
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / 6))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor * 6 >= span)
    start, stop = math.floor(low / step), math.ceil(high / step)
    stop = max(stop, start + 1)
    return [number * step for number in range(start, stop + 1)]


def steps_to_label(first: int, last: int) -> list[int]:
    """The first step, round numbers, and the last step, far enough apart to be readable."""
    gap = (last - first) / 6
    between = [round(number) for number in nice_numbers(first, last) if number == round(number)]
    return sorted({first, *(number for number in between if first + gap < number <= last - gap), last})


def svg_path(points: Sequence[tuple[float, float]]) -> str:
    """The commands of an SVG path; coordinates are shares of the picture from the upper left."""
    commands = []
    # After a gap the next point starts a line; a line of one point is a dot.
    starts_line = True
    for x, y in thin(points, POINTS):
        if not math.isfinite(y):
            starts_line = True
            continue
        point = f"{x * WIDTH:.1f} {y * HEIGHT:.1f}"
        commands.append(f"M{point}h0" if starts_line else f"L{point}")
        starts_line = False
    return "".join(commands)


def thin(points: Sequence[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    """At most ``most`` points that look the same: the extremes of each run of points."""
    if len(points) <= most:
        return list(points)
    size = math.ceil(len(points) / (most // 2))
    kept = []
    for start in range(0, len(points), size):
        run = points[start : start + size]
        # NaN is neither lowest nor highest: it is dropped unless the run has nothing else.
        finite = [point for point in run if math.isfinite(point[1])] or run[:1]
        kept += sorted({min(finite, key=lambda point: point[1]), max(finite, key=lambda point: point[1])})
    return kept
