"""Checks of the exercise `lora`; `kit lesson lora` says what they ask."""

from kit.judge.catalogue import Check, Judge


def test_lora(check: Check, judge: Judge) -> None:
    judge(check)
