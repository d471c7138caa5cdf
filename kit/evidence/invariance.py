"""The training of a model on a mesh or on one device: initial values and first losses."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from kit.evidence.placement import Placement, placements
from kit.evidence.train_step import new_model, train_losses
from kit.models.weightless import DescribedModel, VariableInfo, describe_model


@dataclass(frozen=True)
class Trajectory:
    """The initial values of a model, and its first losses."""

    #: All variables of the model, before training.
    variables: DescribedModel
    #: Their values before training, in the same order.
    values: tuple[np.ndarray, ...]
    #: Of the model's weights.
    placements: tuple[Placement, ...]
    #: The loss of each step as Keras reports it, from before the step changes the weights. Empty if
    #: some weights are not on the mesh's devices: Keras cannot compute with them.
    losses: tuple[float, ...]
    #: The dtypes that the layers compute in, such as "float32" or "bfloat16".
    compute_dtypes: tuple[str, ...] = ()

    def first_difference(self, other: "Trajectory", tolerance: float = 1e-6) -> tuple[VariableInfo, float] | None:
        """The first variable with another initial value, and the difference; None if all are equal.

        The other model has as many variables, which are compared in order. ``tolerance`` is
        relative to a variable's largest value.
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
    """Build a model and train it on one batch, on the layout map's mesh or on the first device.

    Keras' seed is set before the model is built, and Keras' counters for names start over, so that
    rules match each time. A model that is not built yet is called on the batch, as ``fit`` does it.
    Afterwards no distribution is set, even after an error. ``batch`` is what
    ``train_on_batch`` takes: a tuple (x, y) or (x, y, sample_weight), or x alone. It is sharded
    over the first axis of the layout map's mesh.
    """
    with new_model(make_model, batch, layout_map, seed) as (model, arguments):
        variables = describe_model(model)
        values = [np.asarray(variable.value, dtype=np.float64) for variable in model.variables]
        placed = placements(model.weights)
        devices = 1 if layout_map is None else layout_map.device_mesh.devices.size
        losses: tuple[float, ...] = ()
        if all(placement.device_count == devices for placement in placed):
            losses = train_losses(model, arguments, steps)
        compute_dtypes = sorted({str(layer.compute_dtype) for layer in model._flatten_layers() if layer.weights})
        del model
    return Trajectory(variables, tuple(values), tuple(placed), losses, tuple(compute_dtypes))
