"""Checks of the exercise `reviews`; `kit lesson reviews` says what they ask."""

from kit.judge.catalogue import Check, Judge


def test_reviews(check: Check, judge: Judge) -> None:
    judge(check)
