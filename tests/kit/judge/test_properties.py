"""Generated cases find the smallest failing one, are the same each time, and leave no file."""

import random
from pathlib import Path

import pytest
from hypothesis import strategies

from kit.checks.diagnosis import Failed
from kit.judge.properties import EXAMPLES, observe_property

NUMBERS = strategies.lists(strategies.integers(0, 1000), max_size=6)


def expect_sum_below_100(numbers: list[int]) -> None:
    if sum(numbers) >= 100:
        raise Failed("NOT_AS_EXPECTED", "The sum is 100 or more.")


def test_the_smallest_failing_case_is_returned() -> None:
    assert observe_property(NUMBERS, list, expect_sum_below_100) == [[100]]


def test_all_cases_are_returned_where_none_fails() -> None:
    seen = observe_property(NUMBERS, list, lambda numbers: None)
    assert len(seen) == EXAMPLES
    assert len({tuple(numbers) for numbers in seen}) > EXAMPLES / 2
    assert observe_property(NUMBERS, list, lambda numbers: None) == seen


def test_a_function_that_changes_its_mind_has_failed() -> None:
    calls = []

    def judge(numbers: list[int]) -> None:
        calls.append(numbers)
        if len(calls) == 5:
            raise Failed("NOT_AS_EXPECTED", "Once.")

    assert len(observe_property(NUMBERS, list, judge)) == 1


def test_nothing_is_written_and_random_numbers_are_unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    random.seed(1)
    observe_property(NUMBERS, list, expect_sum_below_100)
    observe_property(strategies.floats(-1, 1), float, lambda number: None)
    found = random.random()
    assert found == random.Random(1).random()
    assert list(tmp_path.iterdir()) == []
