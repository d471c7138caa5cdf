"""PRECISION_WRONG_LAYER: a scale of 1, which is what it is unless somebody chooses an alpha."""

from kit.reference.precision import adapted_outputs, effect_kept, share_unchanged  # noqa: F401


def add_adapters_in_float32(model):
    for layer in model.backbone._flatten_layers(include_self=False):
        if getattr(layer, "lora_enabled", False):

            def call(inputs, training=None, layer=layer):
                lora_a, lora_b = layer.lora_kernel_a.value, layer.lora_kernel_b.value
                return adapted_outputs(layer.equation, inputs, layer._kernel.value, lora_a, lora_b, 1.0)

            layer.call = call
