"""Observations are plain data, and a stopped call keeps its diagnosis."""

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from kit.checks.diagnosis import Failed
from kit.judge.observation import Raised, Returned, Stopped, expect_plain, returned


@dataclass(frozen=True)
class Seen:
    value: Any


class Text(str):
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = str.__hash__


class Numbers(np.ndarray):
    pass


@pytest.mark.parametrize(
    "value",
    [
        None,
        1,
        1.5,
        "text",
        b"bytes",
        True,
        [1, ("a", {"b": np.arange(3)})],
        np.float32(1),
        np.ones(2, ml_dtypes.bfloat16),
        Seen(Returned([Raised("ValueError", "no")])),
        Stopped(Failed("EXERCISE_CRASHED", "It failed.", ("line",), [(3,)]).diagnosis),
    ],
)
def test_plain_data_is_accepted(value: Any) -> None:
    expect_plain(value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Seen([Text("a")]), r"the observation\.value\[0\] is a Text"),
        ({"a": object()}, r"the observation\['a'\] is a object"),
        ({Text("a"): 1}, "a key of the observation is a Text"),
        (np.array([object()]), "an array of objects"),
        (np.ones(2).view(Numbers), "is a Numbers"),
        (Seen, "is a type"),
        ((1, lambda: 2), r"the observation\[1\] is a function"),
    ],
)
def test_other_values_are_refused_by_their_place(value: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        expect_plain(value)


def test_a_call_that_returned_gives_its_data() -> None:
    assert returned(Returned((1, 2))) == (1, 2)


def test_a_stopped_call_raises_its_diagnosis_unchanged() -> None:
    failed = Failed("EXERCISE_CRASHED", "It failed.", ("line",), [(3,)], remedy="Look at line 3.")
    with pytest.raises(Failed) as raised:
        returned(Stopped(failed.diagnosis))
    assert raised.value.diagnosis == failed.diagnosis


def test_a_judge_must_look_at_expected_errors() -> None:
    with pytest.raises(ValueError, match="did not look at an expected KeyError"):
        returned(Raised("KeyError", "'a'"))
