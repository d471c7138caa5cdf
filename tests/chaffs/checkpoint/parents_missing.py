"""EXERCISE_CRASHED: only a folder within a folder that is there."""

from pathlib import Path

import numpy as np

from kit.reference.checkpoint import resume_training, merge_adapters  # noqa: F401


def state_of(model):
    model.optimizer.build(model.trainable_variables)
    trainable = {variable.path: variable for variable in model.trainable_variables}
    slots = {f"optimizer {number}": variable for number, variable in enumerate(model.optimizer.variables)}
    return trainable | slots


def save_training(model, path):
    Path(path).mkdir()
    np.savez(
        Path(path) / "state.npz", **{name.replace("/", "|"): np.asarray(v.value) for name, v in state_of(model).items()}
    )
