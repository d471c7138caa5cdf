"""LORA_WRONG_COUNT: all that is not trained instead of all."""

import math

from kit.reference.lora import enable_lora, expected_lora_parameters  # noqa: F401


def count_parameters(model):
    return tuple(sum(math.prod(w.shape) for w in ws) for ws in (model.trainable_weights, model.non_trainable_weights))
