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
    # Task 1: Raise a ValueError unless both sizes are at least 1 and their product is the number
    # of devices. The message says how many devices the mesh takes and how many are available.
    available = len(devices)
    if min(batch, model) < 1 or batch * model != available:
        raise ValueError(f"A mesh with batch={batch} and model={model} does not fit the {available} available devices.")
    # Task 2: Return the mesh of these devices, in their order.
    return keras.distribution.DeviceMesh(shape=(batch, model), axis_names=["batch", "model"], devices=devices)
