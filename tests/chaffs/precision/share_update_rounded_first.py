"""PRECISION_WRONG_SHARE: the update is rounded before it is added, which moves it over the middle or away from it."""

import ml_dtypes
import numpy as np

from kit.reference.precision import adapted_outputs, add_adapters_in_float32, effect_kept  # noqa: F401


def share_unchanged(kernel, update):
    kernel = kernel.astype(ml_dtypes.bfloat16)
    return float(np.mean(kernel + update.astype(ml_dtypes.bfloat16) == kernel))
