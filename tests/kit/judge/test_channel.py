"""Observations are the same after they crossed, and what is no plain data is refused."""

import json
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from kit.checks.diagnosis import Diagnosis, Failed
from kit.judge.channel import NotPlainData, decode, encode
from kit.judge.interface import Signature
from kit.judge.observation import Outcome, Raised, Returned, Stopped

STOPPED = Stopped(Failed("NOT_AS_EXPECTED", "It is not.", ("a",), [(1,)]).diagnosis)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [True, 1, -(2**70), 0.1, float("inf"), "\ud800 é", b"\x00\xff"],
        (),
        {1: (2,), "a": [{}], (1, 2): None},
        Returned({"x": [Raised("ValueError", "no"), STOPPED]}),
        Signature((("batch", 1, False),), "(batch)"),
    ],
)
def test_plain_data_crosses(value: Any) -> None:
    found = decode(encode(value))
    assert found == value
    assert repr(found) == repr(value)


@pytest.mark.parametrize("dtype", ["float32", "int64", "bool", "<U3", ml_dtypes.bfloat16])
@pytest.mark.parametrize("shape", [(), (0, 2), (2, 3)])
def test_arrays_cross(dtype: Any, shape: tuple[int, ...]) -> None:
    value = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    found = decode(encode([value, value.reshape(-1)[:1]]))[0]
    assert type(found) is np.ndarray
    assert (found.dtype, found.shape) == (value.dtype, shape)
    np.testing.assert_array_equal(found, value)
    assert found.flags.writeable


def test_scalars_of_numpy_cross() -> None:
    for value in (np.float32(0.1), np.int64(3), np.bool_(True)):
        found = decode(encode(value))
        assert type(found) is type(value)
        assert found == value


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ([1], tuple[int, ...]),
        (Returned(1), Raised),
        ({"a": [1]}, dict[str, tuple[int, ...]]),
        ((1, 2, 3), tuple[int, int]),
        (Returned([1]), Outcome[dict[str, int]]),
        (None, Outcome[int]),
        (Stopped(Diagnosis("X", "y", rows=((1,),))), Stopped),  # type: ignore[arg-type]
    ],
)
def test_another_type_than_the_check_declares(value: Any, hint: Any) -> None:
    with pytest.raises(NotPlainData):
        decode(encode(value), hint)


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (Returned({"a": 1}), Outcome[dict[str, int]]),
        (STOPPED, Outcome[list[int]]),
        ({"a": (1, None)}, dict[str, tuple[int, str | None]]),
        ([np.float32(1)], list[float]),
    ],
)
def test_the_type_that_the_check_declares(value: Any, hint: Any) -> None:
    assert decode(encode(value), hint) == value


@dataclass
class NotOfTheKit:
    """A class of a test."""

    a: int = 1


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"nothing",
        b"[" * 100_000,
        b'{"set": [1]}',
        b'{"tuple": [], "dict": []}',
        b'{"class": "os:stat_result", "fields": {}}',
        b'{"class": "kit.__main__:main", "fields": {}}',
        b'{"class": "kit.judge.observation:Returned", "fields": {"other": 1}}',
        b'{"class": "kit.judge.runner:Runner", "fields": {}}',
        b'{"array": {"dtype": "object", "shape": [1], "data": ""}}',
        b'{"array": {"dtype": "float32", "shape": [1000000000], "data": ""}}',
        encode(NotOfTheKit()),
        json.dumps({"bytes": "é"}).encode(),
    ],
)
def test_other_messages_are_refused(message: bytes) -> None:
    with pytest.raises(NotPlainData):
        decode(message)
