"""PLANNING_WRONG_COLLECTIVES in tpu_compile: the all-reduces of the way there."""

from kit.reference.planning import argument_nbytes, make_it_fit  # noqa: F401


def all_reduce_nbytes(architecture, rank, batch_size, sequence_length):
    number = 2 * architecture["num_layers"] + 2 - bool(rank)
    return number * batch_size * sequence_length * architecture["hidden_dim"] * 4
