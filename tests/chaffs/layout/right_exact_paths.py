"""PASSES: exact paths for more blocks than any Gemma has; what is small is named, and replicated."""

import itertools

import keras

BY_NAME = {
    "attention/query": (0, 3),
    "attention/key": (0, 3),
    "attention/value": (0, 3),
    "attention/attention_output": (0, 3),
    "ffw_gating": (1, 2),
    "ffw_gating_2": (1, 2),
    "ffw_linear": (0, 2),
}


def spec(dimension, rank):
    return tuple("model" if position == dimension else None for position in range(rank))


def gemma_layout_map(device_mesh):
    rules = {"token_embedding/embeddings": spec(0, 2), "final_normalization/scale": (None,)}
    for block, (name, (dimension, rank)) in itertools.product(range(64), BY_NAME.items()):
        rules[f"decoder_block_{block}/{name}/kernel"] = spec(dimension, rank)
    layout_map = keras.distribution.LayoutMap(device_mesh)
    layout_map.update(rules)
    return layout_map
