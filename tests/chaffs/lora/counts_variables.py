"""LORA_WRONG_COUNT: the number of weights and not of their elements."""

from kit.reference.lora import enable_lora, expected_lora_parameters  # noqa: F401


def count_parameters(model):
    return len(model.trainable_weights), len(model.weights)
