"""Checks of the exercise `layout`; `kit lesson layout` says what they ask."""

from collections.abc import Callable

from kit.judge.catalogue import Check


def test_layout(check: Check, judge: Callable[[Check], None]) -> None:
    judge(check)
