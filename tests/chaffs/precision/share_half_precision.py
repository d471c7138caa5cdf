"""PRECISION_WRONG_SHARE: NumPy's float16, which has three bits more and ends at 6e-8."""

import numpy as np

from kit.reference.precision import adapted_outputs, add_adapters_in_float32, effect_kept  # noqa: F401


def share_unchanged(kernel, update):
    return float(np.mean((kernel + update).astype("float16") == kernel.astype("float16")))
