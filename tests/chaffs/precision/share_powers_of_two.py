"""PRECISION_WRONG_SHARE: ties are right, but below a power of two the distance is taken to be that above it."""

import numpy as np

from kit.reference.precision import adapted_outputs, add_adapters_in_float32, effect_kept  # noqa: F401


def share_unchanged(kernel, update):
    significand, exponent = np.frexp(kernel.astype("float64"))
    half = np.ldexp(1.0, exponent - 9)
    even = (np.abs(significand) * 256) % 2 == 0
    size = np.abs(update.astype("float64"))
    return float(np.mean((size < half) | ((size == half) & even)))
