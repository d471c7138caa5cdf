"""PASSES: the optimizer as Keras' own load_own_variables takes it, the adapters beside it; merging by the layer's own sum."""

from pathlib import Path

import h5py
import keras
import numpy as np


def save_training(model, path):
    Path(path).mkdir(parents=True)
    with h5py.File(Path(path) / "training.h5", "w") as file:
        model.optimizer.build(model.trainable_variables)
        moments = file.create_group("optimizer")
        for number, variable in enumerate(model.optimizer.variables):
            moments[str(number)] = np.asarray(variable.value, "float32")
        weights = file.create_group("trainable")
        for number, variable in enumerate(model.trainable_variables):
            weights[str(number)] = np.asarray(variable.value, "float32")


def resume_training(model, path):
    model.optimizer.build(model.trainable_variables)
    with h5py.File(Path(path) / "training.h5") as file:
        model.optimizer.load_own_variables(file["optimizer"])
        for number, variable in enumerate(model.trainable_variables):
            variable.assign(file["trainable"][str(number)][()])


def merge_adapters(model):
    with_lora = [layer for layer in model._flatten_layers(include_self=False) if getattr(layer, "lora_enabled", False)]
    for layer in dict.fromkeys(with_lora):
        layer._kernel.assign(layer.kernel)
        layer.lora_kernel_a.assign(keras.ops.zeros(layer.lora_kernel_a.shape))
        layer.lora_kernel_b.assign(keras.ops.zeros(layer.lora_kernel_b.shape))
    model.trainable = False
