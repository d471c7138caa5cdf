"""PRECISION_WRONG_LAYER: layer.kernel has the adapter added already."""

from kit.reference.precision import adapted_outputs, effect_kept, share_unchanged  # noqa: F401


def add_adapters_in_float32(model):
    for layer in model.backbone._flatten_layers(include_self=False):
        if getattr(layer, "lora_enabled", False):

            def call(inputs, training=None, layer=layer):
                lora_a, lora_b = layer.lora_kernel_a.value, layer.lora_kernel_b.value
                scale = layer.lora_alpha / layer.lora_rank
                return adapted_outputs(layer.equation, inputs, layer.kernel, lora_a, lora_b, scale)

            layer.call = call
