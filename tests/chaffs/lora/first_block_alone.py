"""LORA_WRONG_TARGETS: the other blocks stay as they are."""

from kit.reference.lora import count_parameters, expected_lora_parameters  # noqa: F401


def enable_lora(model, rank):
    model.backbone.enable_lora(rank, target_layer_names=["query", "value"])
    model.backbone.get_layer("decoder_block_1").trainable = False
