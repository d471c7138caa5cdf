"""CHECKPOINT_RESUME_OFF_TRAJECTORY: the adapters without the optimizer, which begins anew."""

from pathlib import Path

import numpy as np

from kit.reference.checkpoint import merge_adapters  # noqa: F401


def state_of(model):
    model.optimizer.build(model.trainable_variables)
    trainable = {variable.path: variable for variable in model.trainable_variables}
    slots = {f"optimizer {number}": variable for number, variable in enumerate(model.optimizer.variables)}
    return trainable


def save_training(model, path):
    Path(path).mkdir(parents=True)
    np.savez(
        Path(path) / "state.npz", **{name.replace("/", "|"): np.asarray(v.value) for name, v in state_of(model).items()}
    )


def resume_training(model, path):
    with np.load(Path(path) / "state.npz") as saved:
        for name, variable in state_of(model).items():
            variable.assign(saved[name.replace("/", "|")])
