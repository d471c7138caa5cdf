"""PRECISION_WRONG_SHARE: the lower bits are cut off, and not rounded."""

import numpy as np

from kit.reference.precision import adapted_outputs, add_adapters_in_float32, effect_kept  # noqa: F401


def share_unchanged(kernel, update):
    total = (kernel + update).astype("float32")
    return float(np.mean((total.view("uint32") >> 16) == (kernel.view("uint32") >> 16)))
