"""LoRA: a small trainable product of two thin matrices beside a large frozen one."""

import math
from collections.abc import Mapping
from typing import Any

import keras_hub


def enable_lora(model: keras_hub.models.CausalLM, rank: int) -> None:
    """Freeze the model and add adapters of ``rank`` to the query and value projection of each block."""
    # Task 1: Enable LoRA of this rank in the backbone, for the layers named "query" and "value" and for no other.
    raise NotImplementedError("lora, task 1")


def count_parameters(model: keras_hub.models.CausalLM) -> tuple[int, int]:
    """Numbers of elements: of the trainable weights, and of all weights."""
    # Task 2: Return (elements of the trainable weights, elements of all weights).
    raise NotImplementedError("lora, task 2")


def expected_lora_parameters(architecture: Mapping[str, Any], rank: int) -> int:
    """How many parameters LoRA of ``rank`` adds, by arithmetic alone.

    A kernel has shape (heads, hidden, head_dim). Beside it stand A, of shape (heads, hidden, rank), and B, of shape
    (rank, head_dim). Gemma 7B at rank 4: 11,067,392.

    Args:
        architecture: A backbone's ``get_config()``.
        rank: The rank of the adapters.

    """
    hidden, head_dim = architecture["hidden_dim"], architecture["head_dim"]
    # Task 3: Add up A and B of one query and of one value projection, and return the sum over all layers. There may be fewer
    # key and value heads than query heads.
    raise NotImplementedError("lora, task 3")
