"""LoRA: trainable low-rank adapters for frozen kernels."""

import math
from collections.abc import Mapping
from typing import Any

import keras_hub


def enable_lora(model: keras_hub.models.CausalLM, rank: int) -> None:
    """Freeze the model and add adapters of ``rank`` to query and value of each block.

    Raises:
        ValueError: if the model has adapters already; it is KerasHub's.

    """
    # Task 1: Enable LoRA of this rank in the backbone, only for the layers "query" and "value".
    targets = ("query", "value")
    model.backbone.enable_lora(rank=rank, target_layer_names=list(targets))


def count_parameters(model: keras_hub.models.CausalLM) -> tuple[int, int]:
    """Return the number of elements of the trainable weights, and of all weights.

    Weights are variables that are saved. A model's variables also have metrics and states of random
    numbers, which do not count.
    """
    # Task 2: Return a tuple: the elements of the trainable weights, the elements of all weights.
    counts = {True: 0, False: 0}
    for weight in model.weights:
        counts[bool(weight.trainable)] += math.prod(int(size) for size in weight.shape)
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
    # Task 3: Add up the elements of A and B of one query and of one value projection. Return the
    # sum over all layers. A model may have fewer key and value heads than query heads.
    shapes = []
    for key in ("num_query_heads", "num_key_value_heads"):
        shapes.append((architecture[key], hidden, rank))
        shapes.append((rank, head_dim))
    return sum(map(math.prod, shapes)) * architecture["num_layers"]
