"""LORA_WRONG_COUNT: layer by layer, and a shared matrix with each."""

import math

from kit.reference.lora import enable_lora, expected_lora_parameters  # noqa: F401


def count_parameters(model):
    layers = [
        layer
        for layer in model._flatten_layers(include_self=False)
        if not list(layer._flatten_layers(include_self=False))
    ]
    trainable = sum(math.prod(w.shape) for layer in layers for w in layer.trainable_weights)
    total = sum(math.prod(w.shape) for layer in layers for w in layer.weights)
    return trainable, total + math.prod(model.backbone.token_embedding.weights[0].shape)
