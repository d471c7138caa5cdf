"""LORA_WRONG_RANK: the tutorial's rank, whatever is asked for."""

from kit.reference.lora import count_parameters, expected_lora_parameters  # noqa: F401


def enable_lora(model, rank):
    model.backbone.enable_lora(4, target_layer_names=["query", "value"])
