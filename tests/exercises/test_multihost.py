"""Checks of the exercise `multihost`; `kit lesson multihost` says what they ask."""

from kit.judge.catalogue import Check, Judge


def test_multihost(check: Check, judge: Judge) -> None:
    judge(check)
