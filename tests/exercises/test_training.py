"""Checks of the exercise `training`; `kit lesson training` says what they ask."""

from collections.abc import Callable

from kit.judge.catalogue import Check


def test_training(check: Check, judge: Callable[[Check], None]) -> None:
    judge(check)
