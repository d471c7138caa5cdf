"""LAYOUT_WRONG_DIMENSION: the one head is cut into eight, and every core collects it again."""

import keras

from kit.reference.clinic import moments_on_every_core, nothing_is_split, too_much_on_each_core, twice_the_collectives  # noqa: F401


def one_head_on_eight_cores(device_mesh):
    layout_map = keras.distribution.LayoutMap(device_mesh)
    layout_map[".*embeddings"] = ("model", None)
    layout_map[".*(query|attention_output)/kernel"] = ("model", None, None)
    layout_map[".*(key|value)/kernel"] = (None, None, "model")
    layout_map[".*ffw_gating(_2)?/kernel"] = (None, "model")
    layout_map[".*ffw_linear/kernel"] = ("model", None)
    return layout_map
