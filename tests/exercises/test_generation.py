"""Checks of the exercise `generation`; `kit lesson generation` says what they ask."""

from kit.judge.catalogue import Check, Judge


def test_generation(check: Check, judge: Judge) -> None:
    judge(check)
