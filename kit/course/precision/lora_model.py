"""A small model with LoRA in bfloat16: its layers, variables and gradients."""

from dataclasses import dataclass
from typing import Any

import jax
import keras
import keras_hub
import numpy as np

from kit.course.precision.adapted_layer import AdaptedLayer
from kit.course.precision.cases import RANK, SCALE
from kit.course.precision.rounding import rounded
from kit.course.shared import small_models
from kit.evidence import unsharded_twin as twin


@dataclass(frozen=True)
class VariableSeen:
    """A variable of a model as data."""

    dtype: str
    trainable: bool
    shape: tuple[int, ...]
    #: The sharding spec of its array, as text.
    spec: str
    value: np.ndarray

    def __str__(self) -> str:
        """All of it except the value."""
        return f"{self.dtype}, {'trainable' if self.trainable else 'frozen'}, {self.shape}, {self.spec}"


def lora_model(dtype: str = "bfloat16") -> keras_hub.models.CausalLM:
    """A model with one block under the current distribution. Its values depend only on paths."""
    return small_models.small_model(rank=RANK, dtype=dtype, num_layers=1)


def layers_with_lora(model: keras_hub.models.CausalLM) -> list[keras.layers.EinsumDense]:
    """Query and value."""
    layers = model.backbone._flatten_layers(include_self=False)
    adapted = [layer for layer in layers if getattr(layer, "lora_enabled", False)]
    assert len(adapted) == 2, "the small model has LoRA on query and value"
    return adapted


def described(layer: keras.layers.EinsumDense) -> AdaptedLayer:
    """The layer in float64, with random inputs and another scale."""
    variables = (layer._kernel, layer.lora_kernel_a, layer.lora_kernel_b)
    kernel, lora_a, lora_b = (np.asarray(variable.value, "float64") for variable in variables)
    inputs = rounded(np.random.default_rng(small_models.seed()).normal(size=(4, 24, kernel.shape[1])))
    return AdaptedLayer(layer.path, layer.equation, inputs, kernel, lora_a, lora_b, SCALE)


def variables_of(model: keras_hub.models.CausalLM) -> dict[str, VariableSeen]:
    """Path -> variable."""
    return {
        variable.path: VariableSeen(
            str(variable.dtype),
            bool(variable.trainable),
            tuple(variable.shape),
            str(getattr(variable.value.sharding, "spec", "one device")),
            np.asarray(variable.value),
        )
        for variable in model.variables
    }


def changed_paths(before: dict[str, VariableSeen], after: dict[str, VariableSeen]) -> list[str]:
    """Paths of variables that are not the same before and after."""
    return [
        path
        for path in dict.fromkeys((*before, *after))
        if path not in before
        or path not in after
        or str(before[path]) != str(after[path])
        or not np.array_equal(before[path].value, after[path].value)
    ]


def gradients(model: keras_hub.models.CausalLM) -> dict[str, np.ndarray]:
    """Path -> gradient of each trainable variable for a batch of texts, in float64."""
    x, y, sample_weight = twin.tokenized(model, small_models.texts(8, seed=small_models.seed()))

    @jax.jit
    def gradient(trainable: list, rest: list) -> list:
        def loss(trainable: list) -> Any:
            logits, _ = model.stateless_call(trainable, rest, x, training=True)
            return twin.cross_entropy(logits.astype("float32"), y, sample_weight)

        return jax.grad(loss)(trainable)

    values = gradient(
        [variable.value for variable in model.trainable_variables],
        [variable.value for variable in model.non_trainable_variables],
    )
    paths = [variable.path for variable in model.trainable_variables]
    return {path: np.asarray(value, "float64") for path, value in zip(paths, values, strict=True)}
