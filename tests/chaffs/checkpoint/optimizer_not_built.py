"""CHECKPOINT_OPTIMIZER_NOT_BUILT: a model that has just been compiled has no moments to be assigned to."""

from pathlib import Path

import h5py
import numpy as np

from kit.reference.checkpoint import merge_adapters  # noqa: F401


def state_of(model):
    return [*model.trainable_variables, *model.optimizer.variables]


def save_training(model, path):
    Path(path).mkdir(parents=True)
    with h5py.File(Path(path) / "state.h5", "w") as file:
        for number, variable in enumerate(state_of(model)):
            file[str(number)] = np.asarray(variable.value, "float32")


def resume_training(model, path):
    variables = state_of(model)
    with h5py.File(Path(path) / "state.h5") as file:
        if len(file) != len(variables):
            raise ValueError(f"{len(file)} variables were saved, and the model has {len(variables)}")
        for number, variable in enumerate(variables):
            variable.assign(file[str(number)][()])
