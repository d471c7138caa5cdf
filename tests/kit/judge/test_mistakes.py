"""Values name the mistake that gives them, or the pair, or say that none does."""

import math

import pytest

from kit.judge.mistakes import Mistake, MistakeTable, Names, Values, distinguish

MISTAKES = tuple(
    Mistake(name, "NOT_AS_EXPECTED", f"It is {name}.", f"Undo {name}.", "mesh#Axes")
    for name in ("doubled", "negative", "late")
)


def compute(names: Names) -> Values | None:
    """2 and 5, or what the mistakes make of them; two of them exclude each other."""
    if {"negative", "late"} <= names:
        return None
    first, second = 2.0, 5.0
    if "doubled" in names:
        first, second = 2 * first, 2 * second
    if "negative" in names:
        first = -first
    if "late" in names:
        second += 1
    return {"first": first, "second": second}


TABLE = MistakeTable(MISTAKES, compute, relative=1e-6)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((4.0, 10.0), [{"doubled"}]),
        ((4.0 + 3e-6, 10.0), [{"doubled"}]),
        ((4.0 + 3e-5, 10.0), []),
        ((-4.0, 10.0), [{"doubled", "negative"}]),
        ((2.0, 6.0), [{"late"}]),
        ((-2.0, 6.0), []),
        ((math.nan, 10.0), []),
        ((math.inf, 10.0), []),
    ],
)
def test_mistakes_are_recognised(values: tuple[float, float], expected: list[set[str]]) -> None:
    found = dict(zip(("first", "second"), values, strict=True))
    assert [set(names) for names in TABLE.recognise(found)] == expected
    assert not TABLE.is_right(found)


def test_right_values_are_right_within_the_tolerance() -> None:
    assert TABLE.is_right({"first": 2 + 1e-6, "second": 5.0})
    assert not TABLE.is_right({"first": 2 + 1e-5, "second": 5.0})
    assert not TABLE.is_right({"first": 2.0})


def test_a_mistake_is_the_headline() -> None:
    found = TABLE.failure({"first": 4.0, "second": 10.0}, "EXERCISE_CRASHED", "Wrong.").diagnosis
    assert (found.code, found.cause, found.remedy) == ("NOT_AS_EXPECTED", "It is doubled.", "Undo doubled.")
    assert (found.anchor, found.mistakes) == ("mesh#Axes", ("doubled",))
    assert found.rows == (("first", "2", "4", "4"), ("second", "5", "10", "10"))


def test_two_mistakes_are_named_as_two() -> None:
    found = TABLE.failure({"first": -4.0, "second": 10.0}, "EXERCISE_CRASHED", "Wrong.").diagnosis
    assert found.cause == "Two mistakes at once. 1. It is doubled. 2. It is negative."
    assert found.remedy == "Undo doubled. Undo negative."
    assert found.mistakes == ("doubled", "negative")


def test_unknown_values_say_so_and_are_shown() -> None:
    found = TABLE.failure({"first": 7.0, "second": 10.0}, "EXERCISE_CRASHED", "Wrong.", "Look.").diagnosis
    assert found.code == "EXERCISE_CRASHED"
    assert found.cause == "Wrong. None of the 3 usual mistakes that this check knows gives these values."
    assert (found.remedy, found.mistakes) == ("Look.", ())
    assert found.rows == (("first", "2", "7"), ("second", "5", "10"))


def test_mistakes_that_look_alike_share_a_headline() -> None:
    twins = (MISTAKES[0], Mistake("twice", "NOT_AS_EXPECTED", "It is there twice.", "Undo one."))
    table = MistakeTable(twins, lambda names: {"value": 2.0 if names else 1.0}, relative=0)
    found = table.failure({"value": 2.0}, "EXERCISE_CRASHED", "Wrong.").diagnosis
    assert found.cause == "It is doubled. Or: It is there twice."
    assert found.remedy == "Undo doubled. Undo one."
    result = distinguish(table)
    assert (result.singles, result.single_share) == (2, 0)


def test_distinguish_counts_each_ambiguous_set_once() -> None:
    result = distinguish(TABLE)
    assert (result.singles, result.pairs) == (3, 2)
    assert (result.single_share, result.pair_share) == (1, 1)
