"""LORA_WRONG_TARGETS: half of the adapters."""

from kit.reference.lora import count_parameters, expected_lora_parameters  # noqa: F401


def enable_lora(model, rank):
    model.backbone.enable_lora(rank, target_layer_names=["query"])
