"""GENERATION_BATCH_NOT_DIVISIBLE: as many rows as there are texts."""

import numpy as np

from kit.reference.generation import complete, style_shift  # noqa: F401


def mean_log_likelihood(model, texts):
    _, y, weight = model.preprocessor(list(texts))
    logits = np.asarray(model.predict_on_batch(list(texts)), dtype="float64")
    logits -= logits.max(axis=-1, keepdims=True)
    scores = np.take_along_axis(logits, np.asarray(y)[..., None], -1)[..., 0] - np.log(np.exp(logits).sum(-1))
    return float((scores * np.asarray(weight)).sum() / np.asarray(weight).sum())
