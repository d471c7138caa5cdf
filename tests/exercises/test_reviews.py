"""Checks of the exercise `reviews`; `kit lesson reviews` says what they ask."""

from collections.abc import Callable

from kit.judge.catalogue import Check


def test_reviews(check: Check, judge: Callable[[Check], None]) -> None:
    judge(check)
