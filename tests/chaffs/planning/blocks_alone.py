"""PLANNING_WRONG_COLLECTIVES: nothing for the embeddings and the logits."""

from kit.reference.planning import argument_nbytes, make_it_fit  # noqa: F401


def all_reduce_nbytes(architecture, rank, batch_size, sequence_length):
    number = 4 * architecture["num_layers"] - bool(rank)
    return number * batch_size * sequence_length * architecture["hidden_dim"] * 4
