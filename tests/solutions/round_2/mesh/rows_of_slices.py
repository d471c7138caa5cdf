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
    sizes = {"batch": batch, "model": model}
    takes, available = math.prod(sizes.values()), len(devices)
    fits = all(size >= 1 for size in sizes.values()) and takes == available
    if not fits:
        described = ", ".join(f"{name}={size}" for name, size in sizes.items())
        raise ValueError(
            f"The mesh ({described}) takes {takes} devices and {available} are available; each size must be at least 1."
        )
    rows = [devices[first : first + model] for first in range(0, takes, model)]
    return keras.distribution.DeviceMesh(shape=tuple(sizes.values()), axis_names=list(sizes), devices=np.array(rows))
