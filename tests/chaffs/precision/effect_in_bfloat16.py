"""PRECISION_WRONG_EFFECT: outputs are subtracted in the dtype that they are in."""

import numpy as np

from kit.reference.precision import adapted_outputs, add_adapters_in_float32, share_unchanged  # noqa: F401


def effect_kept(change, before, after):
    return float(np.sum((after - before) * change) / np.sum(change * change))
