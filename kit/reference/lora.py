"""LoRA: a small trainable product of two thin matrices beside a large frozen one."""

import math
from collections.abc import Mapping
from typing import Any

import keras_hub


def enable_lora(model: keras_hub.models.CausalLM, rank: int) -> None:
    """Freeze the model and add adapters of ``rank`` to the query and value projection of each block."""
    # region task 1
    #: Enable LoRA of this rank in the backbone, for the layers named "query" and "value" and for no other.
    # The names are written out, since a name that fits no layer leaves nothing trainable and raises no error.
    model.backbone.enable_lora(rank, target_layer_names=["query", "value"])
    # endregion


def count_parameters(model: keras_hub.models.CausalLM) -> tuple[int, int]:
    """Numbers of elements: of the trainable weights, and of all weights."""
    # region task 2
    #: Return (elements of the trainable weights, elements of all weights).
    trainable = sum(math.prod(weight.shape) for weight in model.trainable_weights)
    total = sum(math.prod(weight.shape) for weight in model.weights)
    return trainable, total
    # endregion


def expected_lora_parameters(architecture: Mapping[str, Any], rank: int) -> int:
    """How many parameters LoRA of ``rank`` adds, by arithmetic alone.

    A kernel has shape (heads, hidden, head_dim). Beside it stand A, of shape (heads, hidden, rank), and B, of shape
    (rank, head_dim). Gemma 7B at rank 4: 11,067,392.

    Args:
        architecture: A backbone's ``get_config()``.
        rank: The rank of the adapters.

    """
    hidden, head_dim = architecture["hidden_dim"], architecture["head_dim"]
    # region task 3
    #: Add up A and B of one query and of one value projection, and return the sum over all layers. There may be fewer
    #: key and value heads than query heads.
    query = architecture["num_query_heads"] * hidden * rank + rank * head_dim
    value = architecture["num_key_value_heads"] * hidden * rank + rank * head_dim
    return architecture["num_layers"] * (query + value)
    # endregion
