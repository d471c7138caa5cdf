"""All parts together: the tutorial end to end, as `kit run` runs it, its control, and the tutorial itself on a TPU."""

from collections.abc import Callable

from kit.judge.catalogue import Check


def test_run(check: Check, judge: Callable[[Check], None]) -> None:
    judge(check)
