"""Models without weights: variables with path, shape and dtype, and no memory for values."""

import collections
import contextlib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import keras
from keras.src.backend.common import global_state

if TYPE_CHECKING:
    import keras_hub


@dataclass(frozen=True)
class VariableInfo:
    """A variable without its value."""

    #: As layout maps match it, for example ``decoder_block_0/attention/query/kernel``.
    path: str
    shape: tuple[int, ...]
    dtype: str
    trainable: bool

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the whole variable."""
        # jax.numpy knows bfloat16, which NumPy does not.
        return self.size * jnp.dtype(self.dtype).itemsize


class DescribedModel(list[VariableInfo]):
    """The variables of a model, with the paths of its layers.

    A layout map also has rules for the outputs of layers, of which some have no variable.
    """

    def __init__(self, variables: Iterable[VariableInfo], layers: Iterable[str]) -> None:
        """Take the variables, and the layers' paths without a model that has no path."""
        super().__init__(variables)
        self.layers = tuple(layers)


@contextlib.contextmanager
def fresh_names() -> Iterator[None]:
    """Let Keras count unnamed layers from 0, so that a second model has the same names."""
    counted = global_state.get_global_attribute("object_name_uids")
    global_state.set_global_attribute("object_name_uids", collections.defaultdict(int))
    try:
        yield
    finally:
        global_state.set_global_attribute("object_name_uids", counted)


@contextlib.contextmanager
def no_weights() -> Iterator[None]:
    """Create variables in this context with shape and path, but without a value.

    Keras defers the initial values of variables that are created in a stateless scope until the
    outermost scope ends. This context drops them before that: the values of Gemma 7B would take 34
    GB. You cannot compute with models that you build here.
    """
    # A copy: Keras appends to the list.
    waiting = list(global_state.get_global_attribute("uninitialized_variables") or [])
    with keras.StatelessScope():
        try:
            yield
        finally:
            global_state.set_global_attribute("uninitialized_variables", waiting)


def build_backbone(config: Mapping[str, Any], **overrides: Any) -> "keras_hub.models.Backbone":
    """A backbone from the content of a preset's ``config.json``; call it within :func:`no_weights`.

    ``overrides`` replace entries of ``config["config"]``, for example ``dtype="bfloat16"``.
    """
    # It registers its classes; models that are not from it do without.
    import keras_hub  # noqa: F401

    return keras.saving.deserialize_keras_object({**config, "config": {**config["config"], **overrides}})


def build_language_model(config: Mapping[str, Any], **overrides: Any) -> keras.Model:
    """A Gemma with logits from the content of a preset's ``config.json``.

    Call it within :func:`no_weights`. KerasHub's own CausalLM creates an optimizer, which is
    impossible without values. This is the same network: the backbone, and the transposed embeddings
    as its last matrix. The attribute ``backbone`` has the backbone.
    """
    backbone = build_backbone(config, **overrides)
    logits = backbone.token_embedding(backbone(backbone.input), reverse=True)
    model = keras.Model(backbone.input, logits, name="language_model")
    model.backbone = backbone
    return model


def describe(variables: list[keras.Variable]) -> list[VariableInfo]:
    """Path, shape, dtype and trainability of variables, with or without values."""
    standard = keras.backend.standardize_dtype
    return [VariableInfo(one.path, tuple(one.shape), standard(one.dtype), one.trainable) for one in variables]


def describe_model(model: keras.layers.Layer) -> DescribedModel:
    """The variables of a model or a layer, and the paths of its layers."""
    return DescribedModel(describe(model.variables), layer_paths(model))


def layer_paths(model: keras.layers.Layer) -> list[str]:
    """The paths of a model's layers, as Keras asks a layout map for ``<path>/output``."""
    found: dict[str, None] = {}

    def visit(layer: keras.layers.Layer, around: str) -> None:
        # Keras keeps where a layer is first called or built. One that never was gets its path from
        # the layer around it.
        parent = getattr(layer, "_parent_path", None)
        parent = around if parent is None else parent
        path = f"{parent}/{layer.name}" if parent else layer.name
        found[path] = None
        for child in layer._layers:
            visit(child, path)

    visit(model, "")
    return list(found)


def weightless_variables(config: Mapping[str, Any], rank: int = 0, **overrides: Any) -> DescribedModel:
    """The variables of a configuration, with LoRA on query and value if ``rank`` is above 0."""
    with no_weights():
        backbone = build_backbone(config, **overrides)
        if rank:
            backbone.enable_lora(rank, target_layer_names=["query", "value"])
        return describe_model(backbone)
