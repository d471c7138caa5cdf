"""LAYOUT_CATCHES_ADAPTERS: all ends are left open, and with LoRA the model cannot be made."""

import keras

from kit.reference.clinic import moments_on_every_core, nothing_is_split, one_head_on_eight_cores, twice_the_collectives  # noqa: F401


def too_much_on_each_core(device_mesh):
    layout_map = keras.distribution.LayoutMap(device_mesh)
    layout_map[".*embeddings"] = ("model", None)
    layout_map[".*(query|key|value).*"] = ("model", None, None)
    layout_map[".*attention_output.*"] = ("model", None, None)
    layout_map[".*ffw_gating.*"] = (None, "model")
    layout_map[".*ffw_linear.*"] = ("model", None)
    return layout_map
