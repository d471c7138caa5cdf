"""Checks of the exercise `precision`; `kit lesson precision` says what they ask."""

from collections.abc import Callable

from kit.judge.catalogue import Check


def test_precision(check: Check, judge: Callable[[Check], None]) -> None:
    judge(check)
