"""A crash is shown as a person would describe it."""

from pathlib import Path
from types import SimpleNamespace

import jax.numpy as jnp
import keras
import numpy as np
import pytest

from kit.judge.crashes import described, remedy_for, shown_call, shown_value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.zeros((8, 64), "float32"), "float32[8, 64]"),
        (jnp.zeros((2,), "bfloat16"), "bfloat16[2]"),
        (3, "3"),
        ("I saw", "'I saw'"),
        ("x" * 100, f"'{'x' * 57}…'"),
        (None, "None"),
        ([1, 2], "[1, 2]"),
        ((2, 4), "(2, 4)"),
        ((2,), "(2,)"),
        ([np.zeros(3)] * 2, "[float64[3], float64[3]]"),
        ([np.zeros(3)] * 9, "<list of 9 ndarray>"),
        ([1, "a", 2, "b", 3], "<list of 5 values>"),
        ({"token_ids": np.zeros((2, 3), "int32")}, "{'token_ids': int32[2, 3]}"),
        (dict.fromkeys(range(9)), "<dictionary of 9>"),
        (Path("a", "b"), repr(Path("a", "b"))),
        (len, "len"),
        (np.ndarray, "ndarray"),
        (object(), "<object>"),
        (SimpleNamespace(a=1), "namespace(a=1)"),
    ],
)
def test_values_are_shown_without_their_contents(value: object, expected: str) -> None:
    assert shown_value(value) == expected


def test_variables_and_models_are_shown_by_what_identifies_them() -> None:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="out")])
    assert shown_value(model) == "<Sequential>"
    assert shown_value(model.layers[0].kernel).endswith("out/kernel float32[4, 2]")


def test_a_value_without_a_repr() -> None:
    class Broken:
        def __repr__(self) -> str:
            raise ValueError

    assert shown_value(Broken()) == "<Broken>"
    assert shown_call("f", [Broken()], {"n": 3}) == "f(<Broken>, n=3)"


def _error(function: object) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011 -- any error is described
        function()  # type: ignore[operator]
    return caught.value


def test_the_first_line_of_a_message() -> None:
    assert described(ValueError("one.\ntwo")) == "ValueError: one"
    assert described(ValueError()) == "ValueError"
    assert described(ValueError("word " * 100)).endswith("word …")
    assert described(ValueError("These are wrong:\n  a")) == "ValueError: These are wrong: a"


def test_the_error_within_a_keras_layer() -> None:
    text = described(_error(lambda: keras.layers.Dense(2)("not an array")))
    assert text.startswith("ValueError: ")
    assert "Exception encountered" not in text


def _unpack() -> None:
    _first, _second = (1, 2, 3)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("function", "word"),
    [
        (lambda: __import__("jax").value_and_grad(lambda x: (x, x))(1.0), "has_aux=True"),
        (_unpack, "unpack them all"),
        (lambda: (1, 2).shape, "unpack it first"),
        (lambda: {[1]: 2}, "tuple"),
        (lambda: jnp.zeros_like(keras.Variable([1.0])), "variable.value"),
        (lambda: jnp.zeros(2).sharding.spec, "treat it as replicated"),
    ],
)
def test_foreseen_errors_have_a_remedy_of_their_own(function: object, word: str) -> None:
    error = _error(function)
    assert word in remedy_for(error, {}), repr(error)
    assert remedy_for(error, {".*": "Of the exercise."}) == "Of the exercise."


def test_other_errors_have_none() -> None:
    assert remedy_for(ValueError("something else"), {}) == ""
