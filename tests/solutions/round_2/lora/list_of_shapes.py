"""LoRA: trainable low-rank adapters for frozen kernels."""

import functools
import math
import operator
from collections.abc import Mapping
from typing import Any

import keras_hub


def enable_lora(model: keras_hub.models.CausalLM, rank: int) -> None:
    """Freeze the model and add adapters of ``rank`` to query and value of each block."""
    targets = "query value".split()
    model.backbone.enable_lora(rank=rank, target_layer_names=targets)


def count_parameters(model: keras_hub.models.CausalLM) -> tuple[int, int]:
    """Return the number of elements of the trainable weights, and of all weights."""
    frozen = trained = 0
    for weights, is_trained in ((model.trainable_weights, True), (model.non_trainable_weights, False)):
        for weight in weights:
            size = functools.reduce(operator.mul, weight.shape, 1)
            trained, frozen = (trained + size, frozen) if is_trained else (trained, frozen + size)
    return trained, trained + frozen


def expected_lora_parameters(architecture: Mapping[str, Any], rank: int) -> int:
    """Return how many parameters LoRA adds, calculated from the architecture.

    For a kernel of shape (heads, hidden, head_dim), A has shape (heads, hidden, rank) and B has
    shape (rank, head_dim). For Gemma 7B at rank 4 the result is 11,067,392.

    Args:
        architecture: A backbone's ``get_config()``.
        rank: The rank of the adapters.

    """
    hidden, head_dim = architecture["hidden_dim"], architecture["head_dim"]
    kernels = [(architecture[key], hidden, head_dim) for key in ("num_query_heads", "num_key_value_heads")]
    adapters = [shape for *outer, last in kernels for shape in ((*outer, rank), (rank, last))]
    return architecture["num_layers"] * sum(map(math.prod, adapters))
