"""The device mesh: all devices in a grid whose axes have names."""

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
    if min(batch, model) < 1 or batch * model != len(devices):
        available = len(keras.distribution.list_devices())
        raise ValueError(f"A {batch} x {model} mesh takes {batch * model} devices, but {available} are available.")
    return keras.distribution.DeviceMesh((batch, model), ["batch", "model"], devices)
