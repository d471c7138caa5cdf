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
    keras.distribution.set_distribution(
        keras.distribution.ModelParallel(layout_map=layout_map, batch_dim_name="batch", auto_shard_dataset=False)
    )
    return keras_hub.models.CausalLM.from_preset(preset, **from_preset_options)


def sharding_table(layer: keras.layers.Layer) -> list[tuple[str, tuple[int, ...], tuple]]:
    """Return path, shape and spec of each variable of a layer, as its array is really placed.

    A spec has a mesh axis, or None, for each dimension of the shape.
    """
    table = []
    for variable in layer.variables:
        shape = tuple(variable.shape)
        sharding = variable.value.sharding
        try:
            spec = tuple(sharding.spec)
            while len(spec) < len(shape):
                spec += (None,)
        except AttributeError:
            spec = ()  # one device, nothing is split
        table.append((variable.path, shape, spec))
    return table
