"""PASSES: the class by its own name, the distribution by keyword dictionary, a table from the index of each shard."""

import keras
from keras_hub.models import GemmaCausalLM

SETTINGS = {"batch_dim_name": "batch", "auto_shard_dataset": False}


def load_distributed(preset, layout_map, **options):
    previous = keras.distribution.distribution()
    keras.distribution.set_distribution(keras.distribution.ModelParallel(layout_map=layout_map, **SETTINGS))
    try:
        return GemmaCausalLM.from_preset(preset, **options)
    except Exception:
        keras.distribution.set_distribution(previous)
        raise


def axis_of(variable, dimension):
    shards = {
        shard.index[dimension].indices(variable.shape[dimension])[:2] for shard in variable.value.addressable_shards
    }
    if len(shards) == 1:
        return None
    (axis,) = [name for name, size in variable.value.sharding.mesh.shape.items() if size == len(shards)]
    return axis


def sharding_table(layer):
    return [
        (
            variable.path,
            tuple(variable.shape),
            tuple(axis_of(variable, dimension) for dimension in range(len(variable.shape))),
        )
        for variable in layer.variables
    ]
