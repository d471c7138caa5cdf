"""PRECISION_WRONG_LAYER: the values of the adapters are taken once, and stay what they were."""

import jax.numpy as jnp

from kit.reference.precision import adapted_outputs, effect_kept, share_unchanged  # noqa: F401


def add_adapters_in_float32(model):
    for layer in model.backbone._flatten_layers(include_self=False):
        if getattr(layer, "lora_enabled", False):
            lora_a, lora_b = (jnp.array(variable.value) for variable in (layer.lora_kernel_a, layer.lora_kernel_b))

            def call(inputs, training=None, layer=layer, lora_a=lora_a, lora_b=lora_b):
                scale = layer.lora_alpha / layer.lora_rank
                return adapted_outputs(layer.equation, inputs, layer._kernel.value, lora_a, lora_b, scale)

            layer.call = call
