"""Checks of the exercise `training`; `kit lesson training` says what they ask."""

from kit.judge.catalogue import Check, Judge


def test_training(check: Check, judge: Judge) -> None:
    judge(check)
