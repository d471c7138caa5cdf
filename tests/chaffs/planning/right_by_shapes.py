"""PASSES: a list of shapes, each with what it is divided by; all-reduces one after the other."""

import math


def variables(architecture, rank):
    """(shape, whether it is split, whether it is an adapter)."""
    hidden, head_dim = architecture["hidden_dim"], architecture["head_dim"]
    queries, values = architecture["num_query_heads"], architecture["num_key_value_heads"]
    wide = architecture["intermediate_dim"] // 2
    yield (architecture["vocabulary_size"], hidden), True, False
    for _ in range(architecture["num_layers"]):
        for heads in (queries, values, values, queries):
            yield (heads, hidden, head_dim), True, False
        for _ in range(3):
            yield (hidden, wide), True, False
        for _ in range(2):
            yield (hidden,), False, False
        if rank:
            for heads in (queries, values):
                yield (heads, hidden, rank), False, True
                yield (rank, head_dim), False, True
    yield (hidden,), False, False


def argument_nbytes(architecture, mesh, rank, dtype):
    _, model = mesh
    total = 0
    for shape, split, adapter in variables(architecture, rank):
        itemsize = 4 if adapter or dtype != "bfloat16" else 2
        copies = 3 if adapter or not rank else 1
        total += copies * itemsize * math.prod(shape) // (model if split else 1)
    return total


def all_reduce_nbytes(architecture, rank, batch_size, sequence_length):
    activation = 4 * math.prod((batch_size, sequence_length, architecture["hidden_dim"]))
    sent = [activation]  # the embeddings, whose vocabulary is split
    for block in range(architecture["num_layers"]):
        sent += [activation] * 2  # after the attention and after the feed-forward
        sent += [activation]  # before the feed-forward, on the way back
        if block or not rank:
            sent += [activation]  # before the attention, on the way back
    return sum(sent) + activation  # the logits, on the way back


def make_it_fit():
    return dict(remat=True, batch_size=64, dtype="mixed_bfloat16", mesh=(1, 8))
