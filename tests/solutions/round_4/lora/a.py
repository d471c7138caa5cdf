"""LoRA: trainable low-rank adapters for frozen kernels."""

import math
from collections.abc import Mapping
from typing import Any

import keras_hub


def enable_lora(model: keras_hub.models.CausalLM, rank: int) -> None:
    """Freeze the model and add adapters of ``rank`` to query and value of each block."""
    model.backbone.enable_lora(rank, target_layer_names=["query", "value"])


def count_parameters(model: keras_hub.models.CausalLM) -> tuple[int, int]:
    """Return the number of elements of the trainable weights, and of all weights."""
    trainable = sum(math.prod(weight.shape) for weight in model.trainable_weights)
    return trainable, sum(math.prod(weight.shape) for weight in model.weights)


def expected_lora_parameters(architecture: Mapping[str, Any], rank: int) -> int:
    """Return how many parameters LoRA adds, calculated from the architecture.

    For a kernel of shape (heads, hidden, head_dim), A has shape (heads, hidden, rank) and B has
    shape (rank, head_dim). For Gemma 7B at rank 4 the result is 11,067,392.

    Args:
        architecture: A backbone's ``get_config()``.
        rank: The rank of the adapters.

    """
    hidden, head_dim = architecture["hidden_dim"], architecture["head_dim"]
    # query and value: two projections with this many heads on average
    heads = (architecture["num_query_heads"] + architecture["num_key_value_heads"]) // 2
    projection = heads * hidden * rank + rank * head_dim
    return 2 * projection * architecture["num_layers"]
