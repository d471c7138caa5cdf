"""Checks of the exercise `checkpoint`; `kit lesson checkpoint` says what they ask."""

from kit.judge.catalogue import Check, Judge


def test_checkpoint(check: Check, judge: Judge) -> None:
    judge(check)
