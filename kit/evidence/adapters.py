"""LoRA in a model: layers that can have adapters, their adapters, and what is trained."""

from dataclasses import dataclass

import keras

from kit.models.weightless import VariableInfo, describe

#: The names of the adapters' two matrices, in a layer with a kernel and in an embedding.
_ADAPTERS = (("lora_kernel_a", "lora_kernel_b"), ("lora_embeddings_a", "lora_embeddings_b"))


@dataclass(frozen=True)
class AdaptableLayer:
    """A layer that LoRA can be enabled for."""

    #: The last part of its path, which ``Backbone.enable_lora`` compares with its targets.
    name: str
    path: str
    #: Of the matrix that the adapter is added to; a quantized one may be stored in another shape.
    kernel_shape: tuple[int, ...]
    #: A and B, or None if LoRA is not enabled.
    adapters: tuple[VariableInfo, VariableInfo] | None
    #: None if the layer has no bias.
    bias: VariableInfo | None
    #: What has ``trainable = False``, so that an adapter is frozen: "the model", a layer around it,
    #: the layer, or a matrix; empty if both matrices are trained.
    frozen_by: str = ""

    def expected_shapes(self, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Shapes of A and B: ``kernel_shape[:-1] + (rank,)`` and ``(rank, kernel_shape[-1])``."""
        return (*self.kernel_shape[:-1], rank), (rank, self.kernel_shape[-1])


@dataclass(frozen=True)
class Adapters:
    """The layers of a model that can have adapters, and all of its weights."""

    layers: tuple[AdaptableLayer, ...]
    #: All weights of the model, without seeds.
    weights: tuple[VariableInfo, ...]

    @property
    def trainable(self) -> tuple[VariableInfo, ...]:
        """The weights that training changes."""
        return tuple(weight for weight in self.weights if weight.trainable)


def adapters(model: keras.Model) -> Adapters:
    """The layers that Keras can enable LoRA for, also nested ones. The model needs no values."""
    # KerasHub finds its targets with the same function. A layer that is used twice counts once.
    layers = {id(layer): layer for layer in model._flatten_layers(include_self=True)}.values()
    adaptable = [layer for layer in layers if hasattr(layer, "enable_lora") and _kernel_shape(layer)]
    described = tuple(_describe_layer(layer, model) for layer in adaptable)
    return Adapters(described, tuple(describe(model.weights)))


def _describe_layer(layer: keras.Layer, model: keras.Model) -> AdaptableLayer:
    pair = next(((getattr(layer, a), getattr(layer, b)) for a, b in _ADAPTERS if hasattr(layer, a)), None)
    described = describe(list(pair)) if pair else None
    bias = getattr(layer, "bias", None)
    return AdaptableLayer(
        name=layer.name,
        path=layer.path,
        kernel_shape=_kernel_shape(layer),
        adapters=(described[0], described[1]) if described else None,
        bias=describe([bias])[0] if bias is not None else None,
        frozen_by=_frozen_by(pair, layer, model) if pair else "",
    )


def _frozen_by(pair: tuple[keras.Variable, keras.Variable], layer: keras.Layer, model: keras.Model) -> str:
    """What freezes an adapter; the outermost, since it sets its layers, too."""
    frozen = [variable for variable in pair if not variable.trainable]
    if not frozen:
        return ""
    # KerasHub itself sets the blocks around an adapter to trainable = False: they freeze it only if
    # they have no trainable weight at all.
    around = [one for one in model._flatten_layers() if any(inner is layer for inner in one._flatten_layers())]
    for one in sorted(around, key=lambda one: -len(one._flatten_layers())):
        if not one.trainable and not any(weight.trainable for weight in one.weights):
            return "the model" if one is model else f"the layer {one.path or one.name}"
    return f"the variable {frozen[0].path}"


def _kernel_shape(layer: keras.Layer) -> tuple[int, ...]:
    """Empty if there is no kernel, as in a backbone (which also has ``enable_lora``)."""
    if isinstance(layer, keras.layers.Embedding):
        return (layer.input_dim, layer.output_dim)
    # Not `layer.kernel`, which computes the sum of kernel and adapter if LoRA is enabled.
    attributes = vars(layer)
    kernel = attributes.get("_kernel", attributes.get("kernel"))
    if kernel is None:
        return ()
    # An int4 matrix is stored with half as many values.
    if isinstance(layer, keras.layers.Dense):
        return (attributes.get("_orig_input_dim") or kernel.shape[0], layer.units)
    return tuple(attributes.get("original_kernel_shape") or kernel.shape)
