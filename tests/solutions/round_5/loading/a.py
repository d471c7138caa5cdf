"""Distributed loading: each weight matrix is placed on the mesh as the layout map says."""

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
    distribution = keras.distribution.ModelParallel(
        layout_map=layout_map, batch_dim_name="batch", auto_shard_dataset=False
    )
    keras.distribution.set_distribution(distribution)
    # Task 2: Load the causal language model of the preset, with the options.
    options = {name: value for name, value in from_preset_options.items() if name == "dtype"}
    return keras_hub.models.CausalLM.from_preset(preset, **options)


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
        spec = tuple(getattr(variable.value.sharding, "spec", ()))
        missing = len(variable.shape) - len(spec)
        table.append((variable.path, tuple(variable.shape), spec + (None,) * missing))
    return table
