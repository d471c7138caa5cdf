"""SHARDING_TABLE_WRONG: what the layout plans, and not where the arrays are."""

from kit.reference.loading import load_distributed  # noqa: F401
import keras


def sharding_table(layer):
    distribution = keras.distribution.distribution()
    return [
        (variable.path, tuple(variable.shape), tuple(distribution.get_variable_layout(variable).axes))
        for variable in layer.variables
    ]
