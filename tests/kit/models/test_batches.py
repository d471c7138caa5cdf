"""Batches as shapes."""

from typing import Any

import keras
import numpy as np
import pytest

from kit.errors import UserError
from kit.models.batches import batch_of_arrays, batch_of_sizes


def model(loss: Any, *, dtype: str = "int32", shape: tuple[int | None, ...] = (None,)) -> keras.Model:
    inputs = keras.Input(shape, dtype=dtype, name="tokens")
    made = keras.Model(inputs, keras.layers.Embedding(8, 3)(inputs) if dtype == "int32" else inputs * 2)
    made.compile("sgd", loss)
    return made


def own_loss(y: Any, y_pred: Any) -> Any:
    return y_pred[..., 0] - y


class TestSizes:
    @pytest.mark.parametrize(
        ("loss", "targets"),
        [
            ("sparse_categorical_crossentropy", ((4, 6), "int32")),
            (keras.losses.SparseCategoricalCrossentropy(), ((4, 6), "int32")),
            ("mse", ((4, 6, 3), "float32")),
            # Of tokens, a loss that Keras does not have is taken to compare classes.
            (own_loss, ((4, 6), "int32")),
        ],
    )
    def test_targets_follow_from_the_loss(self, loss: Any, targets: tuple[Any, str]) -> None:
        inputs, made, weights = batch_of_sizes(model(loss), (4, 6))
        assert ((inputs.shape, str(inputs.dtype)), (made.shape, str(made.dtype))) == (((4, 6), "int32"), targets)
        assert weights is None

    def test_fixed_dimensions_need_no_size(self) -> None:
        images = model("mse", dtype="float32", shape=(32, 32, 3))
        inputs, targets, _ = batch_of_sizes(images, (4,))
        assert inputs.shape == targets.shape == (4, 32, 32, 3)
        with pytest.raises(UserError, match="--batch 4x16: dimension 1 of the model's input tokens has 32 entries"):
            batch_of_sizes(images, (4, 16))

    def test_a_language_model_of_keras_hub(self) -> None:
        names = {"token_ids": "int32", "padding_mask": "int32"}
        inputs = {name: keras.Input((None,), dtype=dtype, name=name) for name, dtype in names.items()}
        made = keras.Model(inputs, keras.layers.Embedding(8, 3)(inputs["token_ids"]))
        made.compile("sgd", "sparse_categorical_crossentropy")
        found, targets, weights = batch_of_sizes(made, (4, 6))
        assert {name: str(array.dtype) for name, array in found.items()} == {
            "token_ids": "int32",
            "padding_mask": "bool",
        }
        assert (targets.shape, weights.shape, str(weights.dtype)) == ((4, 6), (4, 6), "bool")


class TestArrays:
    def test_the_dtypes_are_those_of_jax(self) -> None:
        x, y, weights = batch_of_arrays(({"a": np.zeros((2, 3), "int64")}, np.ones(2), None))
        assert (x["a"].shape, str(x["a"].dtype), str(y.dtype), weights) == ((2, 3), "int32", "float32", None)

    def test_something_else(self) -> None:
        with pytest.raises(TypeError, match="it returned a generator"):
            batch_of_arrays(number for number in range(3))
