"""LIKELIHOOD_WRONG: short texts weigh as much as long ones."""

import keras
import numpy as np

from kit.reference.generation import complete, style_shift  # noqa: F401


def batch_axis():
    distribution = keras.distribution.distribution()
    if distribution is None:
        return 1
    mesh = distribution.device_mesh
    return mesh.shape[list(mesh.axis_names).index("batch")]


def mean_log_likelihood(model, texts):
    size = 2 * batch_axis()
    total = tokens = 0.0
    for start in range(0, len(texts), size):
        chunk = list(texts[start : start + size])
        number = len(chunk)
        chunk += chunk[:1] * (size - number)
        _, y, weight = model.preprocessor(chunk)
        logits = np.asarray(model.predict_on_batch(chunk), dtype="float64")[:number]
        y, weight = np.asarray(y)[:number], np.asarray(weight, dtype="float64")[:number]
        logits -= logits.max(axis=-1, keepdims=True)
        scores = np.take_along_axis(logits, y[..., None], -1)[..., 0] - np.log(np.exp(logits).sum(-1))
        total += ((scores * weight).sum(1) / weight.sum(1)).sum()
        tokens += number
    return float(total / tokens)
