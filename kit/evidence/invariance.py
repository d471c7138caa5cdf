"""The same model on a mesh and on one device: the weights that it starts with, and the losses of its first steps."""

import collections
import contextlib
import gc
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras.src.backend.common import global_state

from kit.evidence.placement import Placement, placements
from kit.models.weightless import VariableInfo, describe


@dataclass(frozen=True)
class Trajectory:
    """How a model begins, and how its training does."""

    #: All variables of the model, before training.
    variables: tuple[VariableInfo, ...]
    #: Their values, in the same order.
    values: tuple[np.ndarray, ...]
    #: Where its weights are.
    placements: tuple[Placement, ...]
    #: The loss of each training step, as Keras reports it: it is taken before the step changes the weights. None if the
    #: weights are not all on the devices of the mesh, where Keras could not compute with them.
    losses: tuple[float, ...]

    def first_difference(self, other: "Trajectory", tolerance: float = 1e-6) -> tuple[VariableInfo, float] | None:
        """The first variable that differs at the start, and by how much; None if there is none.

        Args:
            other: Of a model with as many variables, which are compared in their order.
            tolerance: How much a value may differ, as a share of the variable's largest.

        """
        for variable, mine, theirs in zip(self.variables, self.values, other.values, strict=True):
            if mine.shape != theirs.shape:
                return variable, float("nan")
            if mine.size:
                difference = float(np.max(np.abs(mine - theirs)))
                if not difference <= tolerance * float(np.max(np.abs(mine))):
                    return variable, difference
        return None


def train(
    make_model: Callable[[], keras.Model],
    batch: Any,
    layout_map: keras.distribution.LayoutMap | None = None,
    steps: int = 2,
    seed: int = 0,
) -> Trajectory:
    """Build a model and train it on one batch again and again, on the layout map's mesh or on the first device.

    Keras' seed is set before the model is built, and names that Keras gives by counting begin anew, so that rules match
    every time. No distribution is set afterwards, not even after an error.

    Args:
        make_model: Makes a compiled model, anew at each call.
        batch: What ``train_on_batch`` takes: a tuple (x, y) or (x, y, sample_weight), or x alone.
        layout_map: With its mesh, over whose first axis the batch is split; None for one device and no distribution.
        steps: Training steps.
        seed: For ``keras.utils.set_random_seed``.

    """
    keras.distribution.set_distribution(None)
    if layout_map is not None:
        keras.distribution.set_distribution(
            keras.distribution.ModelParallel(
                layout_map=layout_map,
                batch_dim_name=layout_map.device_mesh.axis_names[0],
                auto_shard_dataset=False,
            )
        )
    try:
        with _names_from_the_start(), warnings.catch_warnings():
            # XLA on the CPU has no use for some donated buffers, and says so.
            warnings.filterwarnings("ignore", message="Some donated buffers were not usable")
            keras.utils.set_random_seed(seed)
            model = make_model()
            variables = describe(model.variables)
            values = [np.asarray(variable.value, dtype=np.float64) for variable in model.variables]
            placed = placements(model.weights)
            devices = 1 if layout_map is None else layout_map.device_mesh.devices.size
            losses = []
            if all(placement.device_count == devices for placement in placed):
                arguments = batch if isinstance(batch, tuple) else (batch,)
                losses = [float(model.train_on_batch(*arguments, return_dict=True)["loss"]) for _ in range(steps)]
    finally:
        keras.distribution.set_distribution(None)
    del model
    # A model refers to itself, and several of them would stay in memory.
    gc.collect()
    return Trajectory(tuple(variables), tuple(values), tuple(placed), tuple(losses))


@contextlib.contextmanager
def _names_from_the_start() -> Iterator[None]:
    """Keras calls a second unnamed Dense "dense_1", also when it is the first one of a second model."""
    counted = global_state.get_global_attribute("object_name_uids")
    global_state.set_global_attribute("object_name_uids", collections.defaultdict(int))
    try:
        yield
    finally:
        global_state.set_global_attribute("object_name_uids", counted)
