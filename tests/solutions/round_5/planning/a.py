"""What a training run needs on a TPU: predict it on paper first, then ask the compiler."""

from collections.abc import Mapping
from typing import Any


def _matrices(architecture: Mapping[str, Any]) -> list[int]:
    """Elements of each matrix of a Gemma; the embeddings come first."""
    hidden, head_dim = architecture["hidden_dim"], architecture["head_dim"]
    projections = [
        architecture[name] * hidden * head_dim
        for name in ("num_query_heads", "num_key_value_heads", "num_key_value_heads", "num_query_heads")
    ]
    feed_forward = [hidden * (architecture["intermediate_dim"] // 2)] * 3
    return [architecture["vocabulary_size"] * hidden] + (projections + feed_forward) * architecture["num_layers"]


def _adapters(architecture: Mapping[str, Any], rank: int) -> int:
    """Elements of the adapters of query and value."""
    elements = 0
    for name in ("num_query_heads", "num_key_value_heads"):
        elements += architecture[name] * architecture["hidden_dim"] * rank
        elements += rank * architecture["head_dim"]
    return elements * architecture["num_layers"]


_STORED = {"float32": 4, "mixed_bfloat16": 4, "bfloat16": 2}
_COMPUTED = {"float32": 4, "mixed_bfloat16": 2, "bfloat16": 2}


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
    batch, model = mesh
    # Task 1: Count the elements of the matrices, of the scales and of the adapters. A block has
    # four attention kernels, three feed-forward kernels of hidden x half of intermediate_dim, and
    # two scales; one more scale follows the last block. LoRA adds A of shape (heads, hidden, rank)
    # and B of shape (rank, head_dim) to each query and value. Then return the bytes on a device,
    # with two moments for each trained element.
    devices = model * batch if layout == "fsdp" else model
    elements = sum(size // devices for size in _matrices(architecture))
    elements += (1 + 2 * architecture["num_layers"]) * architecture["hidden_dim"]
    base, adapters = elements * _STORED[dtype], _adapters(architecture, rank) * 4
    return base + 3 * adapters if rank > 0 else 3 * base


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
        batch_size: Examples in a batch; a multiple of the axis "batch".
        sequence_length: Tokens of an example.
        dtype: As above; "mixed_bfloat16" computes in bfloat16.

    """
    # Task 2: Count the elements for one token, then the tokens of a device. Return the bytes.
    batch, model = mesh
    tokens = sequence_length * (batch_size // batch)
    inputs = tokens * architecture["hidden_dim"] * architecture["num_layers"]
    logits = tokens * (architecture["vocabulary_size"] // model)
    return (inputs + logits) * _COMPUTED[dtype]


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
        batch_size: Texts that are generated at the same time; a multiple of the axis "batch".
        max_length: Tokens of a text, including the prompt.
        dtype: As above; "mixed_bfloat16" computes in bfloat16.

    """
    # Task 3: Return the bytes.
    batch, model = mesh
    heads = architecture["num_key_value_heads"]
    parts = 1 if heads % model else model
    shape = (batch_size // batch, architecture["num_layers"], 2, max_length, heads // parts, architecture["head_dim"])
    nbytes = _COMPUTED[dtype]
    for size in shape:
        nbytes *= size
    return nbytes


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
    # Task 4: Count the all-reduces of activations: in the forward and backward pass of each block,
    # at the embeddings, and in the backward pass at the logits. With LoRA, nothing before the
    # first block's query and value needs a gradient. Then count the gradients that a device has:
    # of the adapters; or of its share of each matrix, with that of the embeddings twice, and of
    # all scales. Return what a ring sends.
    batch, model = mesh
    # Forward and backward of attention and feed-forward; the lookup; the logits.
    activations = [hidden * sequence_length * (batch_size // batch)] * (2 * 2 * layers + 1 + 1)
    if rank:
        activations.pop()
        trained = [_adapters(architecture, rank)]
    else:
        embeddings, *others = _matrices(architecture)
        trained = [size // model for size in (embeddings, embeddings, *others)]
        trained += [hidden] * (2 * layers + 1)
    return {
        "model": 2 * (model - 1) * 4 * sum(activations) // model,
        "batch": 2 * (batch - 1) * 4 * sum(trained) // batch,
    }


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
    # Task 5: Return the seven settings. Rule out on paper what cannot fit, cannot learn, or sends
    # too much, and ask the compiler about what is left.
    run = {"topology": "v6e-8", "mesh": (8, 1), "dtype": "bfloat16", "rank": 8, "batch_size": 64, "remat": True}
    # Forward, gradients of activations, and remat: 2 operations each.
    tokens, parameters = 32_768 * 512, 8_537_680_896
    hours_of_a_chip = 3 * 2 * parameters * tokens / 918e12 / 3600
    return {**run, "dollars": round(2.70 * hours_of_a_chip, 2)}
