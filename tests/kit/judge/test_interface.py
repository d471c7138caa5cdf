"""A signature is judged as data, by the calls that its exercise makes."""

from typing import Any

import pytest

from kit.checks.diagnosis import Failed
from kit.judge.catalogue import Function
from kit.judge.interface import expect_signature, judge_interface, signature_of
from kit.judge.observation import Returned, expect_plain

WANTED = Function("make", ("batch", "model", "devices"), 2, ("name",))


def right(batch: int, model: int, devices: Any = None, *, name: str = "") -> None: ...


def also_right(*args: Any, batch: Any = 0, model: Any = 0, devices: Any = 0, name: Any = 0) -> None: ...


def other_name(batch: int, width: int, devices: Any = None, name: str = "") -> None: ...


def too_few(batch: int, model: int) -> None: ...


def too_many(batch: int, model: int, rows: int, devices: Any = None, name: str = "") -> None: ...


@pytest.mark.parametrize("function", [right, also_right])
def test_signatures_that_accept_the_calls_pass(function: Any) -> None:
    signature = signature_of(function)
    expect_plain(signature)
    judge_interface(Returned(signature), WANTED)


@pytest.mark.parametrize(
    ("function", "call"),
    [
        (other_name, "make(batch=…, model=…, devices=…, name=…)"),
        (too_few, "make(batch, model, devices, name=…)"),
        (too_many, "make(batch, model)"),
    ],
)
def test_the_first_call_that_is_not_accepted_is_named(function: Any, call: str) -> None:
    signature = signature_of(function)
    with pytest.raises(Failed) as raised:
        expect_signature(signature, WANTED)
    diagnosis = raised.value.diagnosis
    assert diagnosis.code == "SIGNATURE_DOES_NOT_FIT"
    assert signature is not None
    assert diagnosis.rows == ((call, f"make{signature.text}"),)


def test_a_callable_without_a_signature_is_judged_by_calling_it() -> None:
    expect_signature(None, WANTED)
