"""LAYOUT_DOES_NOT_FIT in tpu_compile: there is no rule, and a core would hold 34 GB."""

import keras


def gemma_layout_map(device_mesh):
    return keras.distribution.LayoutMap(device_mesh)
