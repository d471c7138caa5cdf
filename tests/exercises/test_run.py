"""All parts together: the tutorial end to end, its control, and the tutorial on a TPU."""

from collections.abc import Callable

from kit.judge.catalogue import Check


def test_run(check: Check, judge: Callable[[Check], None]) -> None:
    judge(check)
