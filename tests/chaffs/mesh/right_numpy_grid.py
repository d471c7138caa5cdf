"""PASSES: a grid of NumPy, whose shape is taken from it."""

import keras
import numpy as np


def make_device_mesh(batch, model, devices=None):
    names = np.array(keras.distribution.list_devices() if devices is None else devices, dtype=object)
    if min(batch, model) < 1 or names.size != batch * model:
        raise ValueError(f"{names.size} devices make no grid of {batch * model}")
    grid = names.reshape(batch, model)
    axes = dict(zip(("batch", "model"), grid.shape, strict=True))
    return keras.distribution.DeviceMesh(tuple(axes.values()), list(axes), grid)
