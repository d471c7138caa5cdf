"""Checks of the exercise `loading`; `kit lesson loading` says what they ask."""

from kit.judge.catalogue import Check, Judge


def test_loading(check: Check, judge: Judge) -> None:
    judge(check)
