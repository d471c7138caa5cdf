"""PRECISION_WRONG_SHARE: the share of the entries that change."""

import ml_dtypes
import numpy as np

from kit.reference.precision import adapted_outputs, add_adapters_in_float32, effect_kept  # noqa: F401


def share_unchanged(kernel, update):
    return float(np.mean((kernel + update).astype(ml_dtypes.bfloat16) != kernel.astype(ml_dtypes.bfloat16)))
