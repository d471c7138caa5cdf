"""Models without their weights: every variable with its path, shape and dtype, and no memory for its value."""

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import keras
import keras_hub
from keras.src.backend.common import global_state


@dataclass(frozen=True)
class VariableInfo:
    """What is known of a variable without its value."""

    #: As layout maps see it, for example ``decoder_block_0/attention/query/kernel``.
    path: str
    shape: tuple[int, ...]
    #: The name of its dtype.
    dtype: str
    trainable: bool

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the whole variable, on however many devices."""
        # jax.numpy knows bfloat16, which NumPy does not.
        return self.size * jnp.dtype(self.dtype).itemsize


@contextlib.contextmanager
def no_weights() -> Iterator[None]:
    """Within this, variables are created with shape and path, and without a value.

    Keras defers the initial values of variables that are created in a stateless scope to the moment when the outermost
    one is left. Here they are given up before that: a value would be 34 GB for Gemma 7B. So the models built within must
    not be computed with, and not be kept for that.
    """
    # A copy, since Keras appends to the list.
    waiting = list(global_state.get_global_attribute("uninitialized_variables") or [])
    with keras.StatelessScope():
        try:
            yield
        finally:
            global_state.set_global_attribute("uninitialized_variables", waiting)


def build_backbone(config: Mapping[str, Any], **overrides: Any) -> keras_hub.models.Backbone:
    """A backbone from the content of a preset's ``config.json``, to be called within :func:`no_weights`.

    Args:
        config: With ``registered_name``, ``class_name``, ``module`` and ``config``, as KerasHub writes it.
        **overrides: Put over the entries of ``config["config"]``, for example ``dtype="bfloat16"``.

    """
    return keras.saving.deserialize_keras_object({**config, "config": {**config["config"], **overrides}})


def build_language_model(config: Mapping[str, Any], **overrides: Any) -> keras.Model:
    """A Gemma with its logits, from the content of a preset's ``config.json``, to be called within :func:`no_weights`.

    KerasHub's own CausalLM makes an optimizer when it is made, which no scope without state allows. This is its network:
    the backbone, and the embeddings once more as the last matrix. The backbone is its attribute ``backbone``.
    """
    backbone = build_backbone(config, **overrides)
    logits = backbone.token_embedding(backbone(backbone.input), reverse=True)
    model = keras.Model(backbone.input, logits, name="language_model")
    model.backbone = backbone
    return model


def describe(variables: list[keras.Variable]) -> list[VariableInfo]:
    """Path, shape, dtype and trainability of variables, with values or without."""
    return [
        VariableInfo(
            variable.path, tuple(variable.shape), keras.backend.standardize_dtype(variable.dtype), variable.trainable
        )
        for variable in variables
    ]


def weightless_variables(config: Mapping[str, Any], rank: int = 0, **overrides: Any) -> list[VariableInfo]:
    """The variables of a model, by its configuration alone, with LoRA of ``rank`` on query and value if it is above 0."""
    with no_weights():
        backbone = build_backbone(config, **overrides)
        if rank:
            backbone.enable_lora(rank, target_layer_names=["query", "value"])
        return describe(backbone.variables)
