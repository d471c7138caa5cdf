"""Distributed loading: every weight matrix is put on the mesh as the layout map says."""

from typing import Any

import keras
import keras_hub


def load_distributed(
    preset: str, layout_map: keras.distribution.LayoutMap, **from_preset_options: Any
) -> keras_hub.models.CausalLM:
    """Load a model over the mesh of ``layout_map``, and leave that distribution set for what follows.

    Args:
        preset: A folder in KerasHub's preset format, or the name of a preset.
        layout_map: Where each variable goes. Its mesh has an axis named "batch".
        **from_preset_options: Passed on to ``CausalLM.from_preset``, for example ``dtype="bfloat16"``.

    """
    # region task 1
    #: Set ModelParallel over the layout map as the global distribution: the batch goes over the axis "batch", and Keras
    #: does not split the data set itself (auto_shard_dataset=False).
    # The distribution must be set before the first variable exists: a variable takes its layout when it is created.
    distribution = keras.distribution.ModelParallel(
        layout_map=layout_map, batch_dim_name="batch", auto_shard_dataset=False
    )
    keras.distribution.set_distribution(distribution)
    # endregion
    # region task 2
    #: Load the causal language model of the preset, with the options.
    return keras_hub.models.CausalLM.from_preset(preset, **from_preset_options)
    # endregion


def sharding_table(layer: keras.layers.Layer) -> list[tuple[str, tuple[int, ...], tuple]]:
    """Path, shape and sharding of each variable of a layer, as the array says itself.

    The last entry of a row has a mesh axis, or None, for each dimension of the shape.
    """
    table = []
    for variable in layer.variables:
        # region task 3
        #: Append (path, shape, spec), three plain values: a text and two tuples. Ask the array itself,
        #: `variable.value.sharding`, and not the layout map: what counts is where the bytes are. JAX leaves trailing Nones out
        #: of a spec; put them back. On one device alone a sharding may have no spec: nothing is split.
        spec = tuple(getattr(variable.value.sharding, "spec", ()))
        # JAX leaves trailing Nones out of a spec.
        spec += (None,) * (len(variable.shape) - len(spec))
        table.append((variable.path, tuple(variable.shape), spec))
        # endregion
    return table
