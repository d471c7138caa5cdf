"""The devices and meshes that checks use."""

from dataclasses import dataclass

import keras

from kit.errors import UserError


@dataclass(frozen=True)
class MeshSeen:
    """A device mesh as data."""

    shape: tuple[int, ...]
    axis_names: tuple[str, ...]
    #: Names, row by row.
    devices: tuple[str, ...]

    @classmethod
    def of(cls, mesh: keras.distribution.DeviceMesh) -> "MeshSeen":
        """Read a mesh."""
        return cls(
            tuple(map(int, mesh.shape)), tuple(map(str, mesh.axis_names)), tuple(map(str, mesh.devices.flatten()))
        )

    def rebuilt(self) -> keras.distribution.DeviceMesh:
        """A mesh like the one that was read."""
        return keras.distribution.DeviceMesh(self.shape, list(self.axis_names), list(self.devices))


def all_devices() -> list[str]:
    """The names of all devices.

    With only one device no check can observe sharding: raises UserError.
    """
    names: list[str] = keras.distribution.list_devices()
    if len(names) < 2:
        raise UserError(
            f"The checks need several devices and found {names}: run them from the root of the project with "
            "`pytest --platform=cpu`."
        )
    return names


def mesh_shapes() -> list[tuple[int, int]]:
    """All shapes (batch, model) of meshes over all devices, (1, n) first."""
    count = len(all_devices())
    return [(batch, count // batch) for batch in range(1, count + 1) if count % batch == 0]


def sharding_meshes() -> list[tuple[int, int]]:
    """The shapes (1, n) and, if possible, (2, n / 2): results on one may differ on the other."""
    return [shape for shape in mesh_shapes() if shape[0] <= 2 and shape[1] > 1]


def mesh_with_batch_axis() -> tuple[int, int]:
    """The first shape that shards the batch and the weights; (1, n) if no shape shards both."""
    shapes = mesh_shapes()
    return shapes[1] if len(shapes) > 2 else shapes[0]
