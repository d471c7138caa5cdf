"""The devices that checks run on."""

import keras

from kit.errors import UserError


def all_devices() -> list[str]:
    """The names of all devices.

    Raises:
        UserError: if there is one simulated device: then no check of a sharding would see anything.

    """
    names: list[str] = keras.distribution.list_devices()
    if len(names) < 2:
        raise UserError(
            f"The checks need several devices and found {names}: run them from the root, with `pytest --platform=cpu`."
        )
    return names


def mesh_shapes() -> list[tuple[int, int]]:
    """The meshes that checks look at: all factors of the number of devices, (1, n) first."""
    count = len(all_devices())
    return [(batch, count // batch) for batch in range(1, count + 1) if count % batch == 0]


def sharding_meshes() -> list[tuple[int, int]]:
    """(1, n), and (2, n / 2) where there is one: what holds on one of them may not hold on the other."""
    return [shape for shape in mesh_shapes() if shape[0] <= 2 and shape[1] > 1]


def mesh_with_batch_axis() -> tuple[int, int]:
    """The first mesh that splits the batch and the weights, where there are devices enough for both."""
    shapes = mesh_shapes()
    return shapes[1] if len(shapes) > 2 else shapes[0]
