"""LAYOUT_WRONG_DIMENSION, LAYOUT_EXTRA_COLLECTIVES: the patient as it came, with the other dimensions."""

import keras

from kit.reference.clinic import moments_on_every_core, nothing_is_split, one_head_on_eight_cores, too_much_on_each_core  # noqa: F401


def twice_the_collectives(device_mesh):
    layout_map = keras.distribution.LayoutMap(device_mesh)
    layout_map[".*embeddings"] = ("model", None)
    layout_map[".*(query|key|value)/kernel"] = (None, "model", None)
    layout_map[".*attention_output/kernel"] = (None, None, "model")
    layout_map[".*ffw_gating(_2)?/kernel"] = ("model", None)
    layout_map[".*ffw_linear/kernel"] = (None, "model")
    return layout_map
