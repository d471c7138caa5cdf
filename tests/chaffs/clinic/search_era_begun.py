"""LAYOUT_RULE_MATCHES_NOTHING: the rules have a beginning now, and two of them no end."""

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
    layout_map[".*(query|key|value)/kernel"] = ("model", None, None)
    layout_map[".*attention_output/kernel"] = ("model", None, None)
    layout_map[".*ffw_gating(_2)?"] = (None, "model")
    layout_map[".*ffw_linear"] = ("model", None)
    return layout_map
