"""The device mesh: all devices in a grid whose axes have names."""

import jax
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
    total = jax.device_count()
    if batch < 1 or model < 1 or batch * model != total:
        raise ValueError(f"The mesh takes {batch * model} devices, but {total} are available.")
    return keras.distribution.DeviceMesh(shape=(batch, model), axis_names=["batch", "model"], devices=devices)
