"""The device mesh: all devices in a grid whose axes have names."""

import keras


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
    wanted, available = batch * model, len(keras.distribution.list_devices())
    if batch < 1 or model < 1 or wanted != len(devices):
        raise ValueError(f"A mesh of {batch} x {model} takes {wanted} devices, and {available} are available.")
    # Task 2: Return the mesh of these devices, in their order.
    return keras.distribution.DeviceMesh(
        shape=(batch, model), axis_names=["batch", "model"], devices=devices
    )
