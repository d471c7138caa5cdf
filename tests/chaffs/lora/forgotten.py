"""LORA_NOTHING_TRAINABLE: frozen, and no adapter added."""

from kit.reference.lora import count_parameters, expected_lora_parameters  # noqa: F401


def enable_lora(model, rank):
    model.backbone.trainable = False
