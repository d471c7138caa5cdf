"""PRECISION_WRONG_EFFECT: the mean of quotients, in which the smallest changes count most."""

import numpy as np

from kit.reference.precision import adapted_outputs, add_adapters_in_float32, share_unchanged  # noqa: F401


def effect_kept(change, before, after):
    return float(np.mean((after.astype("float64") - before.astype("float64")) / change))
