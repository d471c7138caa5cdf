"""Checks of the exercise `generation`; `kit lesson generation` says what they ask."""

from collections.abc import Callable

from kit.judge.catalogue import Check


def test_generation(check: Check, judge: Callable[[Check], None]) -> None:
    judge(check)
