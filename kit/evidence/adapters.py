"""LoRA in a model: which layers can have adapters, which have, and what is trained."""

from dataclasses import dataclass

import keras

from kit.models.weightless import VariableInfo, describe

#: The names of the adapters' two matrices, in a layer with a kernel and in an embedding.
_ADAPTERS = (("lora_kernel_a", "lora_kernel_b"), ("lora_embeddings_a", "lora_embeddings_b"))


@dataclass(frozen=True)
class AdaptableLayer:
    """A layer that LoRA can be enabled on."""

    #: The last part of its path: what ``Backbone.enable_lora`` compares with its targets.
    name: str
    path: str
    #: Of the matrix that an adapter is added to, as it is computed with: a quantized one may be stored in another shape.
    kernel_shape: tuple[int, ...]
    #: A and B, or None where LoRA is not enabled.
    adapters: tuple[VariableInfo, VariableInfo] | None
    #: Of the layer; None where it has none.
    bias: VariableInfo | None

    def expected_shapes(self, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Shapes of A and B, from the kernel's: ``kernel[:-1] + (rank,)`` and ``(rank, kernel[-1])`` (Keras' own layers)."""
        return (*self.kernel_shape[:-1], rank), (rank, self.kernel_shape[-1])


@dataclass(frozen=True)
class Adapters:
    """What LoRA there is in a model."""

    layers: tuple[AdaptableLayer, ...]
    #: All variables of the model, seeds left out.
    weights: tuple[VariableInfo, ...]

    @property
    def trainable(self) -> tuple[VariableInfo, ...]:
        """What training changes."""
        return tuple(weight for weight in self.weights if weight.trainable)


def adapters(model: keras.Model) -> Adapters:
    """Look at each layer of the model, those within layers too, that Keras can enable LoRA on; with weights or without."""
    # KerasHub finds its targets with the same function. A layer that is used twice is listed once.
    layers = {id(layer): layer for layer in model._flatten_layers(include_self=True)}.values()
    return Adapters(
        layers=tuple(_look_at(layer) for layer in layers if hasattr(layer, "enable_lora") and _kernel_shape(layer)),
        weights=tuple(describe(model.weights)),
    )


def _look_at(layer: keras.Layer) -> AdaptableLayer:
    pair = next(((getattr(layer, a), getattr(layer, b)) for a, b in _ADAPTERS if hasattr(layer, a)), None)
    described = describe(list(pair)) if pair else None
    bias = getattr(layer, "bias", None)
    return AdaptableLayer(
        name=layer.name,
        path=layer.path,
        kernel_shape=_kernel_shape(layer),
        adapters=(described[0], described[1]) if described else None,
        bias=describe([bias])[0] if bias is not None else None,
    )


def _kernel_shape(layer: keras.Layer) -> tuple[int, ...]:
    """Empty for what has no kernel, such as a backbone (it has ``enable_lora`` too), or is not built."""
    if isinstance(layer, keras.layers.Embedding):
        return (layer.input_dim, layer.output_dim)
    # Not `layer.kernel`: with LoRA enabled that computes the sum of the kernel and its adapter.
    attributes = vars(layer)
    kernel = attributes.get("_kernel", attributes.get("kernel"))
    if kernel is None:
        return ()
    # A matrix in int4 is stored as one of half as many values.
    if isinstance(layer, keras.layers.Dense):
        return (attributes.get("_orig_input_dim") or kernel.shape[0], layer.units)
    return tuple(attributes.get("original_kernel_shape") or kernel.shape)
