"""Checks of the exercise `checkpoint`; `kit lesson checkpoint` says what they ask."""

from collections.abc import Callable

from kit.judge.catalogue import Check


def test_checkpoint(check: Check, judge: Callable[[Check], None]) -> None:
    judge(check)
