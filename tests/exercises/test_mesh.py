"""Checks of the exercise `mesh`; `kit lesson mesh` says what they ask."""

from collections.abc import Callable

from kit.judge.catalogue import Check


def test_mesh(check: Check, judge: Callable[[Check], None]) -> None:
    judge(check)
