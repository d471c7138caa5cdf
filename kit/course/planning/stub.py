"""What a training step needs on a TPU, by arithmetic: to be predicted first, and then asked of the compiler."""

from collections.abc import Mapping
from typing import Any


def argument_nbytes(architecture: Mapping[str, Any], mesh: tuple[int, int], rank: int, dtype: str) -> int:
    """Bytes of weights, adapters and moments that one device holds, with AdamW and the layout of the tutorial.

    The matrices of the embeddings, the attention and the feed-forward are split over "model"; normalization scales and
    adapters are held whole. Step counts, metrics and the batch are a few bytes, and not counted.

    Args:
        architecture: A backbone's ``get_config()``, of a Gemma of the first generation whose heads the model axis divides.
        mesh: Sizes of the axes "batch" and "model".
        rank: Of LoRA on query and value, which trains adapters alone; 0 trains all parameters.
        dtype: "float32", "bfloat16", or "mixed_bfloat16", which keeps variables in float32 and computes in bfloat16. Adapters
            are float32 whatever it is. A moment has the dtype of its variable.

    """
    heads = architecture["num_query_heads"] + architecture["num_key_value_heads"]
    hidden, head_dim = architecture["hidden_dim"], architecture["head_dim"]
    layers = architecture["num_layers"]
    # Task 1: Elements of the model that one device holds: of all matrices its part, of all scales each. A block has four kernels of
    # the attention, three of the feed-forward, each hidden x half of intermediate_dim, and two scales; after the last
    # block comes one scale more.
    raise NotImplementedError("planning, task 1")
    # Task 2: Elements of all adapters: A is (heads, hidden, rank) and B (rank, head_dim), beside each query and each value.
    raise NotImplementedError("planning, task 2")
    # Task 3: Return bytes: of the model and of the adapters, and of two moments for each element that is trained.
    raise NotImplementedError("planning, task 3")


def all_reduce_nbytes(architecture: Mapping[str, Any], rank: int, batch_size: int, sequence_length: int) -> int:
    """Bytes of what all the all-reduces of one training step give, on the mesh (1, 8), in float32.

    Nearly all of it are activations, and their gradients, of shape (batch, sequence, hidden). What is smaller by the width of
    the model, such as the normalizer of the loss, is not counted.

    Args:
        architecture: A backbone's ``get_config()``.
        rank: Of LoRA on query and value, which trains adapters alone; 0 trains all parameters.
        batch_size: Examples in a batch.
        sequence_length: Tokens of an example.

    """
    # Task 4: Count the all-reduces of activations: for each block on the way there and on the way back, at the embeddings, and at
    # the logits on the way back. With LoRA nothing before the first block's query and value needs a gradient. Return their bytes.
    raise NotImplementedError("planning, task 4")


def make_it_fit() -> dict[str, Any]:
    """Settings with which all parameters of Gemma 7B are tuned on a TPU v3-8, whose cores have 16.62 GB each for a program.

    With the tutorial's layout, Keras' AdamW, and 128 tokens an example, at least 8,192 tokens in a step, which moves the
    weights. In float32 on the mesh (1, 8) a core holds 12.81 GB before it computes anything.

    Returns:
        "mesh": sizes of "batch" and "model", a tuple; "dtype": as above; "batch_size": examples in a step;
        "remat": whether blocks are computed once more on the way back, so that no activations within them are kept.

    """
    # Task 5: Return the four settings. Predict before you try: which of them changes what a core holds, and which what it needs
    # beside that while it computes?
    raise NotImplementedError("planning, task 5")
