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
    # region task 1
    #: Raise a ValueError unless both sizes are at least 1 and their product is the number of devices. Its text says how
    #: many devices the mesh would take and how many there are.
    if batch < 1 or model < 1 or batch * model != len(devices):
        raise ValueError(
            f"A mesh of {batch} x {model} takes {batch * model} devices, and there are {len(devices)}: "
            "choose two factors whose product is the number of devices."
        )
    # endregion
    # region task 2
    #: Return the mesh, with these devices in their order.
    return keras.distribution.DeviceMesh(shape=(batch, model), axis_names=["batch", "model"], devices=devices)
    # endregion
