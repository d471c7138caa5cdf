"""The device mesh: all devices in a grid whose axes have names."""

import keras


# JAX compiles again for a new mesh object, so use the same object for the same mesh.
_MESHES: dict[tuple[int, int], keras.distribution.DeviceMesh] = {}


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
    needed, available = batch * model, len(devices)
    if batch < 1 or model < 1 or needed != available:
        raise ValueError(f"A mesh of {batch} x {model} takes {needed} devices, but {available} are available.")
    shape = (batch, model)
    if shape not in _MESHES:
        _MESHES[shape] = keras.distribution.DeviceMesh(shape, ["batch", "model"], devices)
    return _MESHES[shape]
