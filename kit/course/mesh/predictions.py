"""Questions about the device mesh, and their measurements. Imports no framework."""

from kit.course.predictions import Question


def measure_column() -> float:
    """The column of cpu:6 in a mesh that Keras makes."""
    import numpy as np

    from kit.course.shared.tensor_parallel import device_mesh

    (column,) = np.nonzero(device_mesh(2, 4).devices == "cpu:6")[1]
    return float(column)


def measure_same_slice() -> float:
    """The other device whose shard of a matrix has the index of that of cpu:6."""
    import jax
    import jax.numpy as jnp

    mesh = jax.make_mesh((2, 4), ("batch", "model"))
    sharding = jax.NamedSharding(mesh, jax.sharding.PartitionSpec(None, "model"))
    shards = jax.device_put(jnp.zeros((16, 16)), sharding).addressable_shards
    index = {shard.device.id: shard.index for shard in shards}
    (other,) = [device for device in index if device != 6 and index[device] == index[6]]
    return float(other)


def measure_meshes() -> float:
    """How many pairs of sizes Keras accepts as a mesh of all devices."""
    import jax
    import keras

    found = 0
    for batch in range(1, jax.device_count() + 1):
        for model in range(1, jax.device_count() + 1):
            try:
                keras.distribution.DeviceMesh((batch, model), ["batch", "model"], keras.distribution.list_devices())
            except ValueError:
                continue
            found += 1
    return float(found)


QUESTIONS = (
    Question(
        "column",
        "Take a mesh of 2 x 4 over cpu:0 to cpu:7. In which column, counted from 0, is cpu:6?",
        measure_column,
        "The devices fill the mesh row by row: cpu:4 to cpu:7 are the second row, so cpu:6 is in column 2.",
        mistakes={
            "3": "You counted from 1.",
            "0": "You filled the mesh column by column.",
            "1": "That is its row.",
        },
    ),
    Question(
        "same_slice",
        "A matrix is split over the axis model of this mesh. Which other device holds the same slice as cpu:6? Give "
        "its number.",
        measure_same_slice,
        "All devices of a column hold the same slice: cpu:2 is above cpu:6.",
        mistakes={
            "7": "That is its neighbour in the row, which holds another slice.",
            "5": "That is its neighbour in the row, which holds another slice.",
        },
    ),
    Question(
        "meshes",
        "How many different meshes with the axes batch and model can 8 devices form, if none is left out?",
        measure_meshes,
        "The product of the sizes is 8: 1 x 8, 2 x 4, 4 x 2 and 8 x 1. The order matters, since the axes have other "
        "uses.",
        mistakes={"2": "You counted 1 x 8 and 8 x 1 as the same mesh."},
    ),
)
