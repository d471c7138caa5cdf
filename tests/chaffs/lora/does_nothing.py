"""LORA_NOTHING_TRAINABLE: nothing is called, so that the model itself is tuned."""

from kit.reference.lora import count_parameters, expected_lora_parameters  # noqa: F401


def enable_lora(model, rank):
    assert rank > 0 and model is not None
