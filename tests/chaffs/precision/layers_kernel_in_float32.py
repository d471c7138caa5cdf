"""PRECISION_VARIABLES_CHANGED: the kernels are kept in float32, at twice the memory."""

import keras

from kit.reference.precision import adapted_outputs, effect_kept, share_unchanged  # noqa: F401


def add_adapters_in_float32(model):
    for layer in model.backbone._flatten_layers(include_self=False):
        if getattr(layer, "lora_enabled", False):
            layer._tracker.unlock()
            layer._kernel = keras.Variable(
                keras.ops.cast(layer._kernel.value, "float32"), trainable=False, name="kernel"
            )
            layer._tracker.lock()
