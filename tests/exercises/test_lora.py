"""Checks of the exercise `lora`; `kit lesson lora` says what they ask."""

from collections.abc import Callable

from kit.judge.catalogue import Check


def test_lora(check: Check, judge: Callable[[Check], None]) -> None:
    judge(check)
