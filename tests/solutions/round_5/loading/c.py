"""Distributed loading: each weight matrix is placed on the mesh as the layout map says."""

from itertools import zip_longest
from typing import Any

import keras
import keras_hub


def load_distributed(
    preset: str, layout_map: keras.distribution.LayoutMap, **from_preset_options: Any
) -> keras_hub.models.CausalLM:
    """Load a model over the mesh of ``layout_map``, and leave the distribution set.

    Args:
        preset: A folder in KerasHub's preset format, or the name of a preset.
        layout_map: Where each variable is placed. Its mesh has an axis named "batch".
        **from_preset_options: Passed on to ``CausalLM.from_preset``, such as ``dtype="bfloat16"``.

    """
    # Task 1: Set ModelParallel with the layout map as the global distribution. The batch is split
    # over the axis "batch". Keras does not split the data set (auto_shard_dataset=False).
    settings = {"layout_map": layout_map, "batch_dim_name": "batch", "auto_shard_dataset": False}
    keras.distribution.set_distribution(keras.distribution.ModelParallel(**settings))
    # Task 2: Load the causal language model of the preset, with the options.
    model = keras_hub.models.CausalLM.from_preset(preset, **from_preset_options)
    return model


def sharding_table(layer: keras.layers.Layer) -> list[tuple[str, tuple[int, ...], tuple]]:
    """Return path, shape and spec of each variable of a layer, as its array is really placed.

    A spec has a mesh axis, or None, for each dimension of the shape.
    """
    table = []
    for variable in layer.variables:
        # Task 3: Append (path, shape, spec): a string and two tuples. Read the sharding of the
        # array, `variable.value.sharding`, not the layout map, because it shows where the bytes
        # are. JAX leaves out trailing Nones of a spec; add them. On a single device a sharding can
        # have no spec: no dimension is split.
        array = variable.value
        axes = array.sharding.spec if hasattr(array.sharding, "spec") else []
        columns = [axis for _, axis in zip_longest(array.shape, axes)]
        table.append((str(variable.path), tuple(array.shape), tuple(columns)))
    return table
