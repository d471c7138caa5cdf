"""PLANNING_WRONG_COLLECTIVES: one for each of the seven matrices of a block."""

from kit.reference.planning import argument_nbytes, make_it_fit  # noqa: F401


def all_reduce_nbytes(architecture, rank, batch_size, sequence_length):
    number = 7 * architecture["num_layers"] + 2 - bool(rank)
    return number * batch_size * sequence_length * architecture["hidden_dim"] * 4
