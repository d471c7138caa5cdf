"""The curve of the loss: what is drawn of the steps, and which of them are told. It draws nothing."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from kit.report.run_files import Step

#: The picture's own coordinates: the page stretches it to its width.
WIDTH = 1000
HEIGHT = 400
#: So many points are drawn of a line; of more steps each point is the lowest and the highest of several.
POINTS = 1000
#: So many rows the table of the steps has, the first and the last step included.
ROWS = 11


@dataclass(frozen=True)
class Tick:
    """A number beside an axis."""

    text: str
    #: Of the picture, from the left or from the top, in percent.
    percent: float


@dataclass(frozen=True)
class Row:
    """A step in the table."""

    step: Step
    smoothed: float


@dataclass(frozen=True)
class LossCurve:
    """What is drawn and told of the loss of each step."""

    #: The commands of an SVG path; a step whose loss is no number breaks the line.
    path: str
    smoothed_path: str
    #: A point of the smoothed line is the mean of so many steps, or of those of them that there are.
    window: int
    across: tuple[Tick, ...]
    down: tuple[Tick, ...]
    #: Where the run was continued.
    resumed: tuple[Tick, ...]
    rows: tuple[Row, ...]
    lowest: Step
    highest: Step
    last_smoothed: float
    first_smoothed: float
    #: Steps whose loss is no number.
    without_loss: int


def loss_curve(steps: Sequence[Step], resumed: Sequence[int]) -> LossCurve | None:
    """The curve of these steps, in their order; None if the loss of none is a number.

    Args:
        steps: At least one.
        resumed: Steps after which the run was continued.

    """
    sound = [step for step in steps if math.isfinite(step.loss)]
    if not sound:
        return None
    window = max(3, len(steps) // 10 | 1)
    means = smooth([step.loss for step in steps], window)
    low, high = min(step.loss for step in sound), max(step.loss for step in sound)
    down = nice_numbers(low, high)
    first, last = steps[0].step, steps[-1].step

    def across(number: float) -> float:
        return (number - first) / max(1, last - first)

    def below(loss: float) -> float:
        return (down[-1] - loss) / (down[-1] - down[0])

    digits = max(0, -math.floor(math.log10(down[1] - down[0])))
    shown = sorted({round(index * (len(steps) - 1) / (ROWS - 1)) for index in range(ROWS)})
    sound_means = [mean for mean in means if math.isfinite(mean)]
    return LossCurve(
        path=_path([(across(step.step), below(step.loss)) for step in steps]),
        smoothed_path=_path([(across(step.step), below(mean)) for step, mean in zip(steps, means, strict=True)]),
        window=window,
        across=tuple(Tick(f"{number:,}", 100 * across(number)) for number in _steps_to_name(first, last)),
        down=tuple(Tick(f"{number:.{digits}f}", 100 * below(number)) for number in down),
        resumed=tuple(Tick(f"{number:,}", 100 * across(number)) for number in resumed if first <= number <= last),
        rows=tuple(Row(steps[index], means[index]) for index in shown),
        lowest=min(sound, key=lambda step: step.loss),
        highest=max(sound, key=lambda step: step.loss),
        first_smoothed=sound_means[0],
        last_smoothed=sound_means[-1],
        without_loss=len(steps) - len(sound),
    )


def smooth(losses: Sequence[float], window: int) -> list[float]:
    """The mean of the ``window`` values around each, an odd number; at the ends of those that there are.

    What is no number is left out; NaN where nothing is left.
    """
    half = window // 2
    # Running sums, so that a window of many steps costs no more than one of few.
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
    """Three to eight round numbers at equal distances, of which the first is at most ``low`` and the last at least ``high``."""
    room = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(room / 6))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor * 6 >= room)
    start, stop = math.floor(low / step), math.ceil(high / step)
    stop = max(stop, start + 1)
    return [number * step for number in range(start, stop + 1)]


def _steps_to_name(first: int, last: int) -> list[int]:
    """The first step, round numbers of steps, and the last, far enough from one another to be written."""
    room = (last - first) / 6
    between = [round(number) for number in nice_numbers(first, last) if number == round(number)]
    return sorted({first, *(number for number in between if first + room <= number <= last - room), last})


def _path(points: Sequence[tuple[float, float]]) -> str:
    """The commands of an SVG path through points whose coordinates are shares of the picture, from the upper left."""
    commands = []
    # Where something is missing, the next point begins a line; a line of one point is a dot.
    begins = True
    for x, y in thin(points, POINTS):
        if not math.isfinite(y):
            begins = True
            continue
        commands.append(f"{'M' if begins else 'L'}{x * WIDTH:.1f} {y * HEIGHT:.1f}" + ("h0" if begins else ""))
        begins = False
    return "".join(commands)


def thin(points: Sequence[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    """At most ``most`` points that look the same: of each run of points the lowest and the highest, in their order."""
    if len(points) <= most:
        return list(points)
    size = math.ceil(len(points) / (most // 2))
    kept = []
    for start in range(0, len(points), size):
        run = points[start : start + size]
        # NaN is neither lowest nor highest, so it goes where others are left.
        finite = [point for point in run if math.isfinite(point[1])] or run[:1]
        kept += sorted({min(finite, key=lambda point: point[1]), max(finite, key=lambda point: point[1])})
    return kept
