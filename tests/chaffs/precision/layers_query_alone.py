"""PRECISION_UPDATE_LOST: of the two layers with an adapter one is as it was."""

from kit.reference.precision import _call, adapted_outputs, effect_kept, share_unchanged  # noqa: F401


def add_adapters_in_float32(model):
    for layer in model.backbone._flatten_layers(include_self=False):
        if layer.name == "query":
            layer.call = lambda inputs, training=None, layer=layer: _call(layer, inputs)
