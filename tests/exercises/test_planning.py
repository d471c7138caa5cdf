"""Checks of the exercise `planning`; `kit lesson planning` says what they ask."""

from kit.judge.catalogue import Check, Judge


def test_planning(check: Check, judge: Judge) -> None:
    judge(check)
