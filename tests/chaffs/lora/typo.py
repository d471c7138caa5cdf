"""LORA_NOTHING_TRAINABLE: query_dense is the name of an attribute; no layer has it, and Keras says nothing."""

from kit.reference.lora import count_parameters, expected_lora_parameters  # noqa: F401


def enable_lora(model, rank):
    model.backbone.enable_lora(rank, target_layer_names=["query_dense", "value_dense"])
