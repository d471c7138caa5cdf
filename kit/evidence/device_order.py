"""A model on the same mesh with its devices in another order: initial values, step and losses."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from kit.evidence.placement import Placement, placements
from kit.evidence.program import Collectives, collectives
from kit.evidence.train_step import lower_train_step, nbytes_by_group, new_model, prepare_data, train_losses


@dataclass(frozen=True)
class OrderedRun:
    """What a model does on a mesh with its devices in one order."""

    collectives: Collectives
    #: Bytes of one device, before the compiler adds temporaries.
    nbytes: int
    #: Path -> value before training.
    values: dict[str, np.ndarray]
    placements: tuple[Placement, ...]
    losses: tuple[float, ...]
    compute_dtypes: tuple[str, ...]


def run_in_order(
    make_model: Callable[[], keras.Model],
    batch: Any,
    layout_map: keras.distribution.LayoutMap,
    compile_step: Callable[[Any], str],
    steps: int = 2,
    seed: int = 0,
) -> OrderedRun:
    """Build a model on the layout map's mesh, compile its training step, and train it.

    ``compile_step`` makes the text of a program from a step that is lowered for the mesh. Keras'
    seed is set before. Afterwards no distribution is set, even after an error.
    """
    with new_model(make_model, batch, layout_map, seed) as (model, arguments):
        values = {variable.path: np.array(variable.value) for variable in model.variables}
        step = lower_train_step(model, prepare_data(model, batch), layout_map)
        found = collectives(compile_step(step.lowered))
        losses = train_losses(model, arguments, steps)
        dtypes = {str(layer.compute_dtype) for layer in model._flatten_layers() if layer.weights}
        placed = tuple(placements(model.weights))
        del model
    nbytes = sum(nbytes_by_group(step).values())
    return OrderedRun(found, nbytes, values, placed, losses, tuple(sorted(dtypes)))
