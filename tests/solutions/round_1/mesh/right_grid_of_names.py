"""The device mesh: all devices in a grid whose axes have names."""

import numpy as np
import keras


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
    needed = 1
    for size in sizes.values():
        needed *= size
    fits = all(size >= 1 for size in sizes.values()) and needed == len(devices)
    if not fits:
        raise ValueError(
            "A mesh of {} x {} takes {} devices, and {} are available.".format(*sizes.values(), needed, len(devices))
        )
    grid = np.empty((batch, model), dtype=object)
    for place, device in enumerate(devices):
        grid[divmod(place, model)] = device
    return keras.distribution.DeviceMesh(devices=grid, axis_names=tuple(sizes), shape=grid.shape)
