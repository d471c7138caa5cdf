"""LAYOUT_ONLY_FOR_FEW_LAYERS: whole paths now, of the first ten blocks."""

import keras

from kit.reference.clinic import (
    moments_on_every_core,
    one_head_on_eight_cores,
    too_much_on_each_core,
    twice_the_collectives,
)  # noqa: F401


def nothing_is_split(device_mesh):
    layout_map = keras.distribution.LayoutMap(device_mesh)
    layout_map[".*embeddings"] = ("model", None)
    layout_map["decoder_block_[0-9]/attention/[a-z_]+/kernel"] = ("model", None, None)
    layout_map["decoder_block_[0-9]/ffw_gating(_2)?/kernel"] = (None, "model")
    layout_map["decoder_block_[0-9]/ffw_linear/kernel"] = ("model", None)
    return layout_map
