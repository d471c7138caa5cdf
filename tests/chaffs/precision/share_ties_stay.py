"""PRECISION_WRONG_SHARE: by the distances on both sides, but a sum in the middle always stays."""

import numpy as np

from kit.reference.precision import adapted_outputs, add_adapters_in_float32, effect_kept  # noqa: F401


def share_unchanged(kernel, update):
    significand, exponent = np.frexp(kernel.astype("float64"))
    half = np.ldexp(1.0, exponent - 9)
    inwards = (np.abs(significand) == 0.5) & (np.sign(update) != np.sign(kernel))
    return float(np.mean(np.abs(update) <= np.where(inwards, half / 2, half)))
