"""CHECKPOINT_BFLOAT16_LOST: HDF5 takes the two bytes of a bfloat16 without a word, and what is read back is no number."""

from pathlib import Path

import h5py
import keras

from kit.reference.checkpoint import merge_adapters  # noqa: F401


def state_of(model):
    model.optimizer.build(model.trainable_variables)
    return [*model.trainable_variables, *model.optimizer.variables]


def save_training(model, path):
    Path(path).mkdir(parents=True)
    with h5py.File(Path(path) / "state.h5", "w") as file:
        for number, variable in enumerate(state_of(model)):
            file[str(number)] = keras.ops.convert_to_numpy(variable.value)


def resume_training(model, path):
    with h5py.File(Path(path) / "state.h5") as file:
        for number, variable in enumerate(state_of(model)):
            variable.assign(file[str(number)][()])
