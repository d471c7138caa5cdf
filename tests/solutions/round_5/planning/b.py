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
    # Task 1: Count the elements of the matrices, of the scales and of the adapters. A block has
    # four attention kernels, three feed-forward kernels of hidden x half of intermediate_dim, and
    # two scales; one more scale follows the last block. LoRA adds A of shape (heads, hidden, rank)
    # and B of shape (rank, head_dim) to each query and value. Then return the bytes on a device,
    # with two moments for each trained element.
    attention = 2 * heads * hidden * head_dim
    feed_forward = 3 * hidden * (architecture["intermediate_dim"] // 2)
    matrices = architecture["vocabulary_size"] * hidden + layers * (attention + feed_forward)
    scales = (2 * layers + 1) * hidden
    adapters = layers * rank * (heads * hidden + 2 * head_dim)
    itemsize = 2 if dtype == "bfloat16" else 4
    parts = mesh[0] * mesh[1] if layout == "fsdp" else mesh[1]
    weights = itemsize * (matrices // parts + scales) + 4 * adapters
    if rank:
        moments = 2 * 4 * adapters
    else:
        # The layout splits the weights; moments stay as with tensor parallelism.
        moments = 2 * itemsize * (matrices // mesh[1] + scales)
    return weights + moments


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
    itemsize = 4 if dtype == "float32" else 2
    for_token = architecture["num_layers"] * architecture["hidden_dim"] + architecture["vocabulary_size"] // mesh[1]
    return batch_size // mesh[0] * sequence_length * for_token * itemsize


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
    itemsize = 4 if dtype == "float32" else 2
    heads = architecture["num_key_value_heads"]
    if heads % mesh[1] == 0:
        heads //= mesh[1]
    for_token = 2 * architecture["num_layers"] * heads * architecture["head_dim"]
    return batch_size // mesh[0] * max_length * for_token * itemsize


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
    # Task 4: Count the all-reduces of activations: in the forward and backward pass of each block,
    # at the embeddings, and in the backward pass at the logits. With LoRA, nothing before the
    # first block's query and value needs a gradient. Then count the gradients that a device has:
    # of the adapters; or of its share of each matrix, with that of the embeddings twice, and of
    # all scales. Return what a ring sends.
    head_dim, vocabulary = architecture["head_dim"], architecture["vocabulary_size"]
    activation = batch_size // mesh[0] * sequence_length * hidden * 4
    if rank:
        reduced = 4 * layers + 1
        gradients = layers * rank * (heads * hidden + 2 * head_dim)
    else:
        reduced = 4 * layers + 2
        block = 2 * heads * hidden * head_dim + 3 * hidden * (architecture["intermediate_dim"] // 2)
        gradients = (2 * vocabulary * hidden + layers * block) // mesh[1] + (2 * layers + 1) * hidden

    def ring(devices: int, nbytes: int) -> int:
        return 2 * (devices - 1) * nbytes // devices

    return {"model": ring(mesh[1], reduced * activation), "batch": ring(mesh[0], 4 * gradients)}


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
    # 6 operations for each of 8.54e9 parameters and 32,768 x 512 tokens, at 9.18e14 in a second of
    # a chip: 0.26 hours of a chip, at 2.70 dollars.
    return {
        "topology": "v6e-8",
        "mesh": (8, 1),
        "dtype": "bfloat16",
        "rank": 8,
        "batch_size": 64,
        "remat": True,
        "dollars": 0.70,
    }
