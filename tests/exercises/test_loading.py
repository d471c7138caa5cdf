"""Checks of the exercise `loading`; `kit lesson loading` says what they ask."""

from collections.abc import Callable

from kit.judge.catalogue import Check


def test_loading(check: Check, judge: Callable[[Check], None]) -> None:
    judge(check)
