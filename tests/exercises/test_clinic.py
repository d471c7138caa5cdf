"""Checks of the exercise `clinic`; `kit lesson clinic` says what they ask."""

from kit.judge.catalogue import Check, Judge


def test_clinic(check: Check, judge: Judge) -> None:
    judge(check)
