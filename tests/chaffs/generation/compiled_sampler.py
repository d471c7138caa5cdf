"""GENERATION_NOT_DETERMINISTIC: whatever sampler the model has."""

import keras
import keras_hub

from kit.reference.generation import mean_log_likelihood, style_shift  # noqa: F401


def batch_axis():
    distribution = keras.distribution.distribution()
    if distribution is None:
        return 1
    mesh = distribution.device_mesh
    return mesh.shape[list(mesh.axis_names).index("batch")]


def complete(model, prompt, max_length):
    return model.generate([prompt] * batch_axis(), max_length=max_length)[0]
