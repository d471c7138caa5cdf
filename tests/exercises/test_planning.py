"""Checks of the exercise `planning`; `kit lesson planning` says what they ask."""

from collections.abc import Callable

from kit.judge.catalogue import Check


def test_planning(check: Check, judge: Callable[[Check], None]) -> None:
    judge(check)
