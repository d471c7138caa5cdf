"""The device mesh: the devices of one machine or many, arranged in a grid whose axes have names."""

import keras


def make_device_mesh(batch: int, model: int, devices: list[str] | None = None) -> keras.distribution.DeviceMesh:
    """Arrange devices in a grid of ``batch`` x ``model``, with axes named "batch" and "model".

    Args:
        batch: Number of groups that the batch is split over.
        model: Number of devices in a group, over which each weight matrix is split.
        devices: Device names such as ``"cpu:0"``, placed row by row in the order given; all of the machine's by default.

    Raises:
        ValueError: unless ``batch * model`` is the number of devices.

    """
    if devices is None:
        devices = keras.distribution.list_devices()
    # Task 1: Raise a ValueError unless both sizes are at least 1 and their product is the number of devices. Its text says how
    # many devices the mesh would take and how many there are.
    raise NotImplementedError("mesh, task 1")
    # Task 2: Return the mesh, with these devices in their order.
    raise NotImplementedError("mesh, task 2")
