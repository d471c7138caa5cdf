"""LoRA: trainable low-rank adapters for frozen kernels."""

import math
from collections.abc import Mapping
from typing import Any

import keras_hub


def enable_lora(model: keras_hub.models.CausalLM, rank: int) -> None:
    """Freeze the model and add adapters of ``rank`` to query and value of each block."""
    targets = "query value".split()
    backbone = model.backbone
    backbone.enable_lora(rank=rank, target_layer_names=targets)


def count_parameters(model: keras_hub.models.CausalLM) -> tuple[int, int]:
    """Return the number of elements of the trainable weights, and of all weights."""
    trained = {id(weight) for weight in model.trainable_weights}
    counts = {True: 0, False: 0}
    for weight in model.weights:
        elements = 1
        for size in weight.shape:
            elements *= int(size)
        counts[id(weight) in trained] += elements
    return counts[True], counts[True] + counts[False]


def expected_lora_parameters(architecture: Mapping[str, Any], rank: int) -> int:
    """Return how many parameters LoRA adds, calculated from the architecture.

    For a kernel of shape (heads, hidden, head_dim), A has shape (heads, hidden, rank) and B has
    shape (rank, head_dim). For Gemma 7B at rank 4 the result is 11,067,392.

    Args:
        architecture: A backbone's ``get_config()``.
        rank: The rank of the adapters.

    """
    hidden, head_dim = architecture["hidden_dim"], architecture["head_dim"]
    query_heads, value_heads, layers = (
        int(architecture[key]) for key in ("num_query_heads", "num_key_value_heads", "num_layers")
    )
    return layers * rank * ((query_heads + value_heads) * hidden + 2 * head_dim)
