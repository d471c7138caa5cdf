"""PRECISION_WRONG_SHARE: an update below 1/512 of its entry is lost, and every other arrives."""

import numpy as np

from kit.reference.precision import adapted_outputs, add_adapters_in_float32, effect_kept  # noqa: F401


def share_unchanged(kernel, update):
    return float(np.mean(np.abs(update) < np.abs(kernel) / 512))
