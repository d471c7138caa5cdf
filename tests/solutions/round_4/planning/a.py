"""What a training run needs on a TPU: predict it on paper first, then ask the compiler."""

from collections.abc import Mapping
from fractions import Fraction
from math import prod
from typing import Any


def _matrix_shapes(architecture: Mapping[str, Any]) -> list[tuple[int, ...]]:
    """The shape of each matrix, the embeddings first."""
    hidden, head_dim = architecture["hidden_dim"], architecture["head_dim"]
    query, key = architecture["num_query_heads"], architecture["num_key_value_heads"]
    half = architecture["intermediate_dim"] // 2
    block = [(heads, hidden, head_dim) for heads in (query, key, key, query)] + [(hidden, half)] * 3
    return [(architecture["vocabulary_size"], hidden), *block * architecture["num_layers"]]


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
    shapes = _matrix_shapes(architecture)
    ways = Fraction(1, mesh[1]) * (Fraction(1, mesh[0]) if layout == "fsdp" else 1)
    base = sum(map(prod, shapes)) * ways + hidden * len(range(-1, 2 * layers))
    width = {"bfloat16": 2}.get(dtype, 4)
    copies_of_base, copies_of_adapters = (1, 3) if rank else (3, 0)
    adapters = heads * hidden * rank * layers + 2 * layers * rank * head_dim
    return int(base * width * copies_of_base + adapters * 4 * copies_of_adapters)


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
    rows, columns = mesh
    width = 2 if dtype.endswith("bfloat16") else 4
    local_tokens = Fraction(batch_size * sequence_length, rows)
    inputs = local_tokens * prod((architecture["num_layers"], architecture["hidden_dim"]))
    logits = local_tokens * Fraction(architecture["vocabulary_size"], columns)
    return int(width * (inputs + logits))


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
    whole = prod(
        (batch_size, architecture["num_layers"], 2, max_length, architecture["num_key_value_heads"], architecture["head_dim"])
    )
    ways = mesh[0] if architecture["num_key_value_heads"] % mesh[1] else mesh[0] * mesh[1]
    return int(Fraction(whole, ways) * (2 if dtype.endswith("bfloat16") else 4))


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
    rows, columns = mesh


    def ring(devices: int, elements: Any) -> int:
        return int(Fraction(2 * (devices - 1), devices) * elements * 4)


    forward = 2 * layers + 1
    backward = 2 * layers + 1 - (rank > 0)
    activation = Fraction(batch_size, rows) * sequence_length * hidden
    if rank > 0:
        trained = sum(layers * (n * hidden + architecture["head_dim"]) * rank for n in (
            architecture["num_query_heads"], architecture["num_key_value_heads"]))
    else:
        table, *others = map(prod, _matrix_shapes(architecture))
        trained = Fraction(2 * table + sum(others), columns) + hidden * (1 + 2 * layers)
    return dict(model=ring(columns, (forward + backward) * activation), batch=ring(rows, trained))


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
    # Every chip of a v6e-8 has room for all of Gemma 7B in bfloat16 (17.1 of 33.55 GB), so data
    # parallelism sends only the gradients of the adapters. Nearly 6 operations per parameter and
    # token: remat does not compute the end of a block again, and the logits once.
    operations = 5.72 * 8.5377e9 * 32_768 * 512
    dollars = operations / 918e12 / 3600 * 2.70
    run = dict(topology="v6e-8", mesh=(8, 1), dtype="bfloat16", rank=8, batch_size=64, remat=True)
    return run | {"dollars": round(dollars, 3)}
