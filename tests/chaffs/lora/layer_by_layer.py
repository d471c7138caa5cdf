"""LORA_BASE_NOT_FROZEN: adapters for two layers of each block, and all others go on being trained."""

from kit.reference.lora import count_parameters, expected_lora_parameters  # noqa: F401


def enable_lora(model, rank):
    for layer in model.backbone._flatten_layers(include_self=False):
        if layer.name in ("query", "value"):
            layer.enable_lora(rank)
