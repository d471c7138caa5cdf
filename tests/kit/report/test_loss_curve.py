"""The coordinates of the loss curve."""

import math

import pytest

from kit.report.loss_curve import loss_curve, nice_numbers, smooth, thin
from kit.run.metrics import StepRecord


def test_smoothing() -> None:
    assert smooth([1, 2, 6, 10], 3) == [1.5, 3, 6, 8]
    assert smooth([1, math.nan, 3], 3) == [1, 2, 3]
    assert math.isnan(smooth([math.nan, math.nan, math.nan, 1], 3)[0])


@pytest.mark.parametrize(("low", "high"), [(3.4, 4.1), (5.0, 5.0), (0.0, 0.0), (0.0213, 0.0214), (2, 900), (-3.5, 1.2)])
def test_numbers_beside_an_axis(low: float, high: float) -> None:
    numbers = nice_numbers(low, high)
    # Multiples of a tenth are not exact.
    assert numbers[0] <= low + 1e-12
    assert numbers[-1] >= high - 1e-12
    assert 2 <= len(numbers) <= 8


@pytest.mark.parametrize(
    ("first", "last", "named"),
    [
        (1, 300, ["1", "100", "150", "200", "250", "300"]),
        (1, 3, ["1", "2", "3"]),
        (5, 5, ["5"]),
        (121, 2000, ["121", "500", "1,000", "1,500", "2,000"]),
    ],
)
def test_steps_that_are_named(first: int, last: int, named: list[str]) -> None:
    curve = loss_curve([StepRecord(step, 4.0, 4.0, None, 1.0) for step in range(first, last + 1)], ())
    assert curve is not None
    assert [tick.text for tick in curve.across] == named


def test_a_long_run_is_drawn_by_its_extremes() -> None:
    losses = [4.0] * 60_000
    losses[41_234], losses[7] = 9.0, 1.0
    points = [(float(index), loss) for index, loss in enumerate(losses)]
    thinned = thin(points, 1000)
    assert len(thinned) <= 1000
    assert {(7.0, 1.0), (41_234.0, 9.0)} <= set(thinned)
    assert thinned == sorted(thinned)
    curve = loss_curve([StepRecord(i + 1, loss, loss, None, 0.1 * i) for i, loss in enumerate(losses)], ())
    assert curve is not None
    assert len(curve.path) < 20_000
    assert (curve.highest.step, curve.lowest.step) == (41_235, 8)
