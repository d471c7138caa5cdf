"""The coordinates of a picture of a sharded matrix, compared with JAX' own slices."""

import math
from typing import Any

import pytest

from kit.report.sharded_variables import Variable
from kit.report.sharding_picture import draw, letters

SPECS = [
    ((8, 16, 6), ("model", None, None)),
    ((16, 24), (None, "model")),
    ((24, 16), ("model", "batch")),
    ((24, 16), (("batch", "model"), None)),
    ((24, 16), (("model", "batch"), None)),
    ((6, 16, 24), (None, "batch", "model")),
    ((16,), (None,)),
]


@pytest.mark.parametrize(("shape", "spec"), SPECS, ids=str)
def test_the_slices_are_those_of_jax(devices: list[str], shape: tuple[int, ...], spec: tuple[Any, ...]) -> None:
    import jax
    import numpy as np

    mesh = jax.sharding.Mesh(np.array(jax.devices()).reshape(2, 4), ("batch", "model"))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*spec))
    expected = {
        f"cpu:{device.id}": tuple(part.indices(size)[:2] for part, size in zip(index, shape, strict=True))
        for device, index in sharding.devices_indices_map(shape).items()
    }
    axes = tuple(() if entry is None else (entry,) if isinstance(entry, str) else entry for entry in spec)
    picture = draw(Variable("kernel", shape, axes, 4 * math.prod(shape)), {"batch": 2, "model": 4}, tuple(devices))
    assert {device: part.bounds for part in picture.slices for device in part.devices} == expected
    assert picture.nbytes_held == 4 * math.prod(sharding.shard_shape(shape))
    # The mesh has the devices in their order, with letter and colour of their slices.
    held = {device: part for part in picture.slices for device in part.devices}
    assert [(cell.letter, cell.colour) for cell in picture.mesh] == [
        (held[name].letter, held[name].colour) for name in devices
    ]
    # A slice in the back shows the strip beside the one before it, with its letter.
    assert sorted(piece.letter for piece in picture.matrix if piece.letter)[0] == "A"
    assert len(picture.matrix) == len(picture.slices)


def test_letters() -> None:
    assert [letters(number) for number in (0, 25, 26, 51, 52, 701, 702)] == ["A", "Z", "AA", "AZ", "BA", "ZZ", "AAA"]
