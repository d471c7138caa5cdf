"""The device mesh: all devices in a grid whose axes have names."""

import math

import keras
import numpy as np

AXES = ("batch", "model")


def make_device_mesh(batch: int, model: int, devices: list[str] | None = None) -> keras.distribution.DeviceMesh:
    """Arrange devices in a mesh of shape (``batch``, ``model``) with axes "batch" and "model".

    Args:
        batch: Number of rows. The batch is split over them.
        model: Number of columns. Each weight matrix is split over them.
        devices: Device names such as ``"cpu:0"``, used row by row in this order. All devices of
            the machine if it is None; an empty list has no device.

    Raises:
        ValueError: unless ``batch * model`` is the number of devices.

    """
    if devices is None:
        devices = keras.distribution.list_devices()
    # Task 1: Raise a ValueError unless both sizes are at least 1 and their product is the number
    # of devices. The message says how many devices the mesh takes (the product, also of sizes
    # below 1) and how many are available.
    sizes = (batch, model)
    if min(sizes) < 1 or len(devices) != math.prod(sizes):
        raise ValueError(
            f"{len(devices)} devices are available, but the mesh {sizes} takes {math.prod(sizes)}. "
            "Each axis needs at least one device."
        )
    # Task 2: Return the mesh of these devices, in their order.
    rows = [list(devices[row * model : (row + 1) * model]) for row in range(batch)]
    return keras.distribution.DeviceMesh(sizes, list(AXES), np.array(rows))
