"""Checks of the exercise `layout`; `kit lesson layout` says what they ask."""

from kit.judge.catalogue import Check, Judge


def test_layout(check: Check, judge: Judge) -> None:
    judge(check)
