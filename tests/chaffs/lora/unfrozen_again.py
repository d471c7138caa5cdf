"""LORA_BASE_NOT_FROZEN: the norms are made trainable again."""

from kit.reference.lora import count_parameters, expected_lora_parameters  # noqa: F401


def enable_lora(model, rank):
    model.backbone.enable_lora(rank, target_layer_names=["query", "value"])
    model.backbone.get_layer("final_normalization").trainable = True
