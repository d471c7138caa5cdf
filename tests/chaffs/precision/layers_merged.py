"""PRECISION_VARIABLES_CHANGED: each adapter is added to its kernel, for good."""

import keras

from kit.reference.precision import adapted_outputs, effect_kept, share_unchanged  # noqa: F401


def add_adapters_in_float32(model):
    for layer in model.backbone._flatten_layers(include_self=False):
        if getattr(layer, "lora_enabled", False):
            adapter = keras.ops.matmul(layer.lora_kernel_a, layer.lora_kernel_b)
            layer._kernel.assign(keras.ops.add(layer._kernel, layer.lora_alpha / layer.lora_rank * adapter))
            layer.lora_kernel_b.assign(keras.ops.zeros(layer.lora_kernel_b.shape))
