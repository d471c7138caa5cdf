"""PRECISION_WRONG_DTYPE: inputs are made float32, and outputs are what the inputs are."""

from kit.reference.precision import adapted_outputs, effect_kept, share_unchanged  # noqa: F401


def add_adapters_in_float32(model):
    for layer in model.backbone._flatten_layers(include_self=False):
        if getattr(layer, "lora_enabled", False):

            def call(inputs, training=None, layer=layer):
                return adapted_outputs(
                    layer.equation,
                    inputs.astype("float32"),
                    layer._kernel.value,
                    layer.lora_kernel_a.value,
                    layer.lora_kernel_b.value,
                    layer.lora_alpha / layer.lora_rank,
                )

            layer.call = call
