"""Checks of the exercise `multihost`; `kit lesson multihost` says what they ask."""

from collections.abc import Callable

from kit.judge.catalogue import Check


def test_multihost(check: Check, judge: Callable[[Check], None]) -> None:
    judge(check)
