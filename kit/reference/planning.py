"""What a training step needs on a TPU, by arithmetic: predict it first, then ask the compiler."""

from collections.abc import Mapping
from typing import Any


def argument_nbytes(architecture: Mapping[str, Any], mesh: tuple[int, int], rank: int, dtype: str) -> int:
    """Return the bytes of weights, adapters and moments on one device.

    The optimizer is AdamW and the layout is the tutorial's: the matrices of the embeddings, the
    attention and the feed-forward are sharded over "model"; normalization scales and adapters are
    replicated. Step counts, metrics and the batch take a few bytes and do not count.

    Args:
        architecture: A backbone's ``get_config()``, of a Gemma of the first generation. The model
            axis divides its numbers of heads.
        mesh: Sizes of the axes "batch" and "model".
        rank: Rank of LoRA on query and value, which trains only the adapters; 0 trains all
            parameters.
        dtype: "float32", "bfloat16", or "mixed_bfloat16", which stores variables in float32 and
            computes in bfloat16. Adapters are always float32. A moment has its variable's dtype.

    """
    heads = architecture["num_query_heads"] + architecture["num_key_value_heads"]
    hidden, head_dim = architecture["hidden_dim"], architecture["head_dim"]
    layers = architecture["num_layers"]
    # region task 1
    #: Count the model's elements on one device: its share of each matrix, all of each
    #: scale. A block has four attention kernels, three feed-forward kernels of hidden x half of
    #: intermediate_dim, and two scales. One more scale follows the last block.
    attention = 2 * heads * hidden * head_dim
    # Gemma's intermediate dimension is that of both gating matrices together.
    feed_forward = 3 * hidden * (architecture["intermediate_dim"] // 2)
    matrices = architecture["vocabulary_size"] * hidden + layers * (attention + feed_forward)
    held = matrices // mesh[1] + (2 * layers + 1) * hidden
    # endregion
    # region task 2
    #: Count the elements of all adapters. Each query and each value has A of shape
    #: (heads, hidden, rank) and B of shape (rank, head_dim).
    adapters = layers * rank * (heads * hidden + 2 * head_dim)
    # endregion
    # region task 3
    #: Return the bytes of the model, the adapters, and two moments per trained element.
    nbytes = held * (2 if dtype == "bfloat16" else 4)
    return nbytes + 3 * 4 * adapters if rank else 3 * nbytes
    # endregion


def all_reduce_nbytes(architecture: Mapping[str, Any], rank: int, batch_size: int, sequence_length: int) -> int:
    """Return the bytes of the results of all all-reduces in one training step.

    The mesh is (1, 8) and the dtype float32. Nearly all bytes are activations of shape
    (batch, sequence, hidden) and their gradients. Results without the dimension hidden, such as
    the normalizer of the loss, do not count.

    Args:
        architecture: A backbone's ``get_config()``.
        rank: Rank of LoRA on query and value, which trains only the adapters; 0 trains all
            parameters.
        batch_size: Examples in a batch.
        sequence_length: Tokens of an example.

    """
    # region task 4
    #: Count the all-reduces of activations: in the forward and backward pass of each block,
    #: at the embeddings, and in the backward pass at the logits. With LoRA, nothing before the
    #: first block's query and value needs a gradient. Return the bytes of their results.
    number = 4 * architecture["num_layers"] + 2 - (1 if rank else 0)
    return number * batch_size * sequence_length * architecture["hidden_dim"] * 4
    # endregion


def make_it_fit() -> dict[str, Any]:
    """Return settings with which all of Gemma 7B can be trained on a TPU v3-8.

    A program has 16.62 GB on each core. The layout is the tutorial's, the optimizer Keras' AdamW,
    and an example has 128 tokens. A step has at least 8,192 tokens, and it changes the weights. In
    float32 on the mesh (1, 8), weights and moments take 12.81 GB per core.

    Returns:
        "mesh": sizes of "batch" and "model", a tuple; "dtype": as above; "batch_size": examples
        in a step; "remat": whether to recompute each block's activations in the backward pass
        instead of storing them.

    """
    # region task 5
    #: Return the four settings. Predict before you try: which of them change the bytes of
    #: weights and moments, and which change what the step needs while it computes?
    # A batch axis shards the weights over fewer cores, and in bfloat16 AdamW changes none of them:
    # so 12.81 GB are fixed. The activations must fit into the rest. Neither remat nor
    # mixed_bfloat16 is enough without the other.
    return {"mesh": (1, 8), "dtype": "mixed_bfloat16", "batch_size": 64, "remat": True}
    # endregion
