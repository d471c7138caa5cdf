"""Training that is saved, and resumed in a new model: state before and after, and losses."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kit.evidence.train_step import new_model, train_losses

#: Name of a variable -> its value. The name begins with "trainable", "frozen", "state", "random
#: state" or "optimizer".
State = dict[str, np.ndarray]


@dataclass(frozen=True)
class SavedRun:
    """A run that was saved on the way."""

    initial: State
    #: When it was saved, and right after.
    saved: State
    after_saving: State
    #: After the further steps.
    final: State
    losses: tuple[float, ...]
    compute_dtypes: tuple[str, ...]


@dataclass(frozen=True)
class ResumedRun:
    """A new model that has resumed from what the run has saved."""

    initial: State
    restored: State
    final: State
    losses: tuple[float, ...]


def run_and_save(
    make_model: Callable[[], keras.Model],
    save: Callable[[keras.Model, Path], Any],
    path: Path,
    batch: Any,
    layout_map: keras.distribution.LayoutMap | None,
    steps: int,
    seed: int = 0,
) -> SavedRun:
    """Train a new model for some steps, save it, and train it for as many further steps."""
    with new_model(make_model, batch, layout_map, seed) as (model, arguments):
        initial = state_of(model)
        train_losses(model, arguments, steps)
        saved = state_of(model)
        save(model, path)
        after_saving = state_of(model)
        losses = train_losses(model, arguments, steps)
        dtypes = {str(layer.compute_dtype) for layer in model._flatten_layers() if layer.weights}
        return SavedRun(initial, saved, after_saving, state_of(model), losses, tuple(sorted(dtypes)))


def resume_and_run(
    make_model: Callable[[], keras.Model],
    resume: Callable[[keras.Model, Path], Any],
    path: Path,
    batch: Any,
    layout_map: keras.distribution.LayoutMap | None,
    steps: int,
    seed: int = 0,
) -> ResumedRun:
    """Resume in a new model, and train it for some steps."""
    with new_model(make_model, batch, layout_map, seed) as (model, arguments):
        # Not the optimizer's: in a new process, it is not built.
        initial = state_of(model, optimizer=False)
        resume(model, path)
        restored = state_of(model)
        losses = train_losses(model, arguments, steps)
        return ResumedRun(initial, restored, state_of(model), losses)


def state_of(model: keras.Model, optimizer: bool = True) -> State:
    """The values of a model's variables, and of its optimizer's, which is built if it is not."""
    if optimizer and not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    weights = {id(weight) for weight in model.weights}
    created_trainable = {id(one) for layer in model._flatten_layers() for one in layer._trainable_variables}
    found: State = {}

    def add(kind: str, path: str, variable: keras.Variable) -> None:
        name, number = f"{kind}: {path}", 2
        while name in found:
            name, number = f"{kind}: {path} ({number})", number + 1
        found[name] = np.array(variable.value)

    for variable in model.variables:
        if id(variable) not in weights:
            kind = "random state"
        elif variable.trainable:
            kind = "trainable"
        else:
            kind = "frozen" if id(variable) in created_trainable else "state"
        add(kind, variable.path, variable)
    for variable in model.optimizer.variables if optimizer else ():
        # The first part is the optimizer's own name, "adam_1" for a second one.
        add("optimizer", variable.path.partition("/")[2] or variable.path, variable)
    return found


def differing(expected: State, found: State) -> list[str]:
    """The names whose values are not bit-identical, or that only one of the states has."""
    names = [*expected, *(name for name in found if name not in expected)]
    return [
        name
        for name in names
        if name not in expected or name not in found or expected[name].tobytes() != found[name].tobytes()
    ]
