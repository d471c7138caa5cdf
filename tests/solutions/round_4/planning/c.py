"""What a training run needs on a TPU: predict it on paper first, then ask the compiler."""

from collections.abc import Mapping
from typing import Any


def argument_nbytes(
    architecture: Mapping[str, Any], mesh: tuple[int, int], rank: int, dtype: str, layout: str = "tensor"
) -> int:
    """Return the bytes of weights, adapters and moments on one device.

    The optimizer is AdamW. The matrices of the embeddings, the attention and the feed-forward are
    split; normalization scales and adapters are replicated. Step counts, metrics and the batch take
    a few bytes and do not count.

    Args:
        architecture: A backbone's ``get_config()``, of a Gemma of the first generation. The axes
            that split a matrix divide it.
        mesh: Sizes of the axes "batch" and "model".
        rank: Rank of LoRA on query and value, which trains only the adapters; 0 trains all
            parameters.
        dtype: "float32", "bfloat16", or "mixed_bfloat16", which stores variables in float32 and
            computes in bfloat16. Adapters are always float32. A moment has its variable's dtype.
        layout: "tensor" splits matrices over "model", "fsdp" over "batch" as well.

    """
    heads = architecture["num_query_heads"] + architecture["num_key_value_heads"]
    hidden, head_dim = architecture["hidden_dim"], architecture["head_dim"]
    layers = architecture["num_layers"]
    batch, model = mesh
    matrices = architecture["vocabulary_size"] * hidden
    matrices += layers * (2 * heads * hidden * head_dim + 3 * hidden * (architecture["intermediate_dim"] // 2))
    scales = (2 * layers + 1) * hidden
    adapters = layers * (heads * hidden * rank + 2 * rank * head_dim)
    held = matrices // (model * batch if layout == "fsdp" else model) + scales
    size = 2 if dtype == "bfloat16" else 4
    if rank:
        return held * size + 3 * 4 * adapters
    return 3 * held * size


def activation_nbytes(
    architecture: Mapping[str, Any], mesh: tuple[int, int], batch_size: int, sequence_length: int, dtype: str
) -> int:
    """Return the bytes that a device keeps from the forward to the backward pass, with remat.

    With remat, these are the input of each block, of shape (batch, sequence, hidden), and the
    logits. Both are in the dtype of the computation.

    Args:
        architecture: A backbone's ``get_config()``.
        mesh: Sizes of the axes "batch", which splits the examples, and "model", which splits the
            vocabulary of the logits.
        batch_size: Examples in a batch.
        sequence_length: Tokens of an example.
        dtype: As above; "mixed_bfloat16" computes in bfloat16.

    """
    batch, model = mesh
    elements = architecture["num_layers"] * architecture["hidden_dim"] + architecture["vocabulary_size"] // model
    tokens = batch_size * sequence_length // batch
    return tokens * elements * (4 if dtype == "float32" else 2)


def cache_nbytes(
    architecture: Mapping[str, Any], mesh: tuple[int, int], batch_size: int, max_length: int, dtype: str
) -> int:
    """Return the bytes of the cache of keys and values on a device while a model generates.

    The cache has one key and one value for each block, key and value head, and token. It is in the
    dtype of the computation.

    Args:
        architecture: A backbone's ``get_config()``.
        mesh: Sizes of the axes "batch", which splits the examples, and "model", which splits the
            heads if it divides their number; otherwise they are replicated.
        batch_size: Texts that are generated at the same time.
        max_length: Tokens of a text, including the prompt.
        dtype: As above; "mixed_bfloat16" computes in bfloat16.

    """
    batch, model = mesh
    # with fewer heads than devices, each device still has a head
    heads = max(1, architecture["num_key_value_heads"] // model)
    texts = batch_size // batch
    elements = texts * max_length * architecture["num_layers"] * 2 * heads * architecture["head_dim"]
    return elements * {"float32": 4, "bfloat16": 2, "mixed_bfloat16": 2}[dtype]


def sent_nbytes(
    architecture: Mapping[str, Any], mesh: tuple[int, int], rank: int, batch_size: int, sequence_length: int
) -> dict[str, int]:
    """Return the bytes that a device sends in one training step, by the axis over which it sends.

    The layout is "tensor", the dtype float32, without remat. A ring of n devices adds up a value of
    b bytes in 2 (n - 1) steps, in each of which a device sends b / n bytes. Small results, such as
    the normalizer of the loss, do not count, and neither do all-gathers.

    Args:
        architecture: A backbone's ``get_config()``.
        mesh: Sizes of the axes "batch" and "model". With LoRA one of them is 1.
        rank: Rank of LoRA on query and value, which trains only the adapters; 0 trains all
            parameters.
        batch_size: Examples in a batch; a multiple of the axis "batch".
        sequence_length: Tokens of an example.

    Returns:
        "model": bytes of activations and their gradients; "batch": bytes of the gradients of
        trained variables. An axis of one device sends nothing.

    """
    hidden, layers = architecture["hidden_dim"], architecture["num_layers"]
    heads = architecture["num_query_heads"] + architecture["num_key_value_heads"]
    batch, model = mesh
    head_dim = architecture["head_dim"]
    activation = 4 * (batch_size // batch) * sequence_length * hidden
    reduced = (4 * layers + (1 if rank else 2)) * activation
    if rank:
        gradients = layers * (heads * hidden * rank + 2 * rank * head_dim)
    else:
        block = 2 * heads * hidden * head_dim + 3 * hidden * (architecture["intermediate_dim"] // 2)
        gradients = (2 * architecture["vocabulary_size"] * hidden + layers * block) // model + (2 * layers + 1) * hidden
    return {"model": 2 * (model - 1) * reduced // model, "batch": 2 * (batch - 1) * 4 * gradients // batch}


def choose_run() -> dict[str, Any]:
    """Return the slice and the settings of a run that tunes Gemma 7B for a budget.

    The run trains on 32,768 texts of 512 tokens, once. A step has at least 32 texts, and it
    changes what it trains. LoRA has rank 8 or more, or all parameters are trained. The run costs at
    most 0.80 dollars: ``kit lesson planning "What a run costs"`` has the prices, and says how long
    a step takes by the compiler's figures. The layout is "tensor".

    Returns:
        "topology": "v5e-8", "v5e-16", "v6e-8" or "v5p-8"; "mesh": sizes of "batch" and "model", a
        tuple; "dtype" and "rank" as above; "batch_size": texts in a step; "remat": whether each
        block's activations are computed again in the backward pass; "dollars": what the run costs,
        within 10 %.

    """
    return {
        "topology": "v6e-8",
        "mesh": (8, 1),
        "dtype": "bfloat16",
        "rank": 8,
        "batch_size": 64,
        "remat": True,
        "dollars": 0.67,
    }
