"""PASSES: layer by layer, everything else frozen by hand; shapes are multiplied by NumPy."""

import numpy as np


def enable_lora(model, rank):
    blocks = [layer for layer in model.backbone.layers if layer.name.startswith("decoder_block")]
    model.backbone.trainable = True
    for layer in model.backbone._flatten_layers(include_self=False):
        if not list(layer._flatten_layers(include_self=False, recursive=False)) and layer.weights:
            layer.trainable = False
    for block in blocks:
        for name in ("query_dense", "value_dense"):
            layer = getattr(block.attention, name)
            layer.trainable = True
            layer.enable_lora(rank)


def count_parameters(model):
    def elements(weights):
        return int(sum(np.prod(weight.shape, dtype="int64") for weight in weights))

    trainable = elements(model.trainable_weights)
    return trainable, trainable + elements(model.non_trainable_weights)


def expected_lora_parameters(architecture, rank):
    total = 0
    for heads in ("num_query_heads", "num_key_value_heads"):
        kernel = (architecture[heads], architecture["hidden_dim"], architecture["head_dim"])
        total += int(np.prod((*kernel[:-1], rank))) + rank * kernel[-1]
    return total * architecture["num_layers"]
