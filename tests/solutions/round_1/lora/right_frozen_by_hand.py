"""LoRA: trainable low-rank adapters for frozen kernels."""

import math
from collections.abc import Mapping
from typing import Any

import keras_hub


def enable_lora(model: keras_hub.models.CausalLM, rank: int) -> None:
    """Freeze the model and add adapters of ``rank`` to query and value of each block."""
    for weight in model.weights:
        weight.trainable = False
    for layer in model.backbone._flatten_layers(include_self=False):
        if layer.name in {"query", "value"}:
            layer.enable_lora(rank)


def count_parameters(model: keras_hub.models.CausalLM) -> tuple[int, int]:
    """Return the number of elements of the trainable weights, and of all weights."""
    trainable = {id(weight) for weight in model.trainable_weights}
    counts = [0, 0]
    for weight in model.weights:
        size = math.prod(weight.shape)
        counts[0] += size * (id(weight) in trainable)
        counts[1] += size
    return tuple(counts)


def expected_lora_parameters(architecture: Mapping[str, Any], rank: int) -> int:
    """Return how many parameters LoRA adds, calculated from the architecture.

    For a kernel of shape (heads, hidden, head_dim), A has shape (heads, hidden, rank) and B has
    shape (rank, head_dim). For Gemma 7B at rank 4 the result is 11,067,392.

    Args:
        architecture: A backbone's ``get_config()``.
        rank: The rank of the adapters.

    """
    hidden, head_dim = architecture["hidden_dim"], architecture["head_dim"]
    shapes: list[tuple[int, ...]] = []
    for heads in (architecture["num_query_heads"], architecture["num_key_value_heads"]):
        shapes += [(heads, hidden, rank), (rank, head_dim)]
    return sum(map(math.prod, shapes * architecture["num_layers"]))
