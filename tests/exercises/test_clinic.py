"""Checks of the exercise `clinic`; `kit lesson clinic` says what they ask."""

from collections.abc import Callable

from kit.judge.catalogue import Check


def test_clinic(check: Check, judge: Callable[[Check], None]) -> None:
    judge(check)
