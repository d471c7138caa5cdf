"""The device mesh: all devices in a grid whose axes have names."""

import math

import keras
import numpy as np


def make_device_mesh(batch: int, model: int, devices: list[str] | None = None) -> keras.distribution.DeviceMesh:
    """Arrange devices in a mesh of shape (``batch``, ``model``) with axes "batch" and "model".

    Args:
        batch: Number of rows. The batch is split over them.
        model: Number of columns. Each weight matrix is split over them.
        devices: Device names such as ``"cpu:0"``, used row by row in this order. All devices of
            the machine by default.

    Raises:
        ValueError: unless ``batch * model`` is the number of devices.

    """
    if devices is None:
        devices = keras.distribution.list_devices()
    sizes = dict(batch=batch, model=model)
    needed, there = math.prod(sizes.values()), len(devices)
    fits = all(size > 0 for size in sizes.values()) and needed == there
    if not fits:
        text = " x ".join(map(str, sizes.values()))
        raise ValueError(f"{text} = {needed} devices are needed for this mesh and {there} are available")
    grid = np.empty(there, dtype=object)
    grid[:] = list(devices)
    return keras.distribution.DeviceMesh(tuple(sizes.values()), tuple(sizes), grid.reshape(batch, model))
