"""Grids of devices that are divided among processes."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kit.course.shared.meshes import mesh_shapes


@dataclass(frozen=True)
class ProcessMesh:
    """A mesh, and which process has which device."""

    description: str
    #: The process of each device, of shape (batch, model).
    process_of_device: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """Sizes of the axes "batch" and "model"."""
        batch, model = self.process_of_device.shape
        return batch, model

    @property
    def processes(self) -> list[int]:
        """The numbers of the processes."""
        return sorted({int(number) for number in self.process_of_device.ravel()})


def process_meshes() -> Iterator[ProcessMesh]:
    """Each grid of all devices, divided among processes in different ways."""
    for batch, model in mesh_shapes():
        count = batch * model
        positions = np.arange(count)
        half = max(1, count // 2)
        for division, numbers in (
            ("one half per process", positions // half),
            ("alternating devices", positions % 2),
            ("one half per process, in reverse order", (count - 1 - positions) // half),
            ("alternating pairs", positions // 2 % 2),
            ("three processes", positions * 3 // count),
            ("a single process", positions * 0),
        ):
            if numbers.max() < count:
                yield ProcessMesh(f"({batch}, {model}), {division}", numbers.reshape(batch, model))
