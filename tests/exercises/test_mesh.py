"""Checks of the exercise `mesh`; `kit lesson mesh` says what they ask."""

from kit.judge.catalogue import Check, Judge


def test_mesh(check: Check, judge: Judge) -> None:
    judge(check)
