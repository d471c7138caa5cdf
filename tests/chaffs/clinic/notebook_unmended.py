"""LAYOUT_MATRIX_REPLICATED: the patient as it came, which misses the second gating matrix."""

import keras

from kit.reference.clinic import moments_on_every_core, nothing_is_split, one_head_on_eight_cores, twice_the_collectives  # noqa: F401


def too_much_on_each_core(device_mesh):
    layout_map = keras.distribution.LayoutMap(device_mesh)
    layout_map[".*embeddings"] = ("model", None)
    layout_map[".*(query|key|value).kernel"] = ("model", None, None)
    layout_map[".*attention_output.kernel"] = ("model", None, None)
    layout_map[".*ffw_gating.kernel"] = (None, "model")
    layout_map[".*ffw_linear.kernel"] = ("model", None)
    return layout_map
