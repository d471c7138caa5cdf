"""The device mesh: all devices in a grid whose axes have names."""

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
    needed = batch * model
    if batch < 1 or model < 1 or needed != len(devices):
        raise ValueError(
            f"A mesh of {batch} x {model} takes {needed} devices (sizes must be at least 1), "
            f"and {len(devices)} are available."
        )
    grid = np.array(devices).reshape((batch, model), order="F")
    return keras.distribution.DeviceMesh((batch, model), ["batch", "model"], grid)
