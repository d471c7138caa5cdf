"""Checks of the exercise `precision`; `kit lesson precision` says what they ask."""

from kit.judge.catalogue import Check, Judge


def test_precision(check: Check, judge: Judge) -> None:
    judge(check)
