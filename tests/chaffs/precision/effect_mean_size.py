"""PRECISION_NOISE_COUNTED: the same by absolute values."""

import numpy as np

from kit.reference.precision import adapted_outputs, add_adapters_in_float32, share_unchanged  # noqa: F401


def effect_kept(change, before, after):
    seen = after.astype("float64") - before.astype("float64")
    return float(np.abs(seen).mean() / np.abs(change).mean())
