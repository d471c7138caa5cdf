"""MULTIHOST_NOT_WHOLE: right as long as one process has all of the array, and an error where it has not."""

import numpy as np

from kit.reference.multihost import own_rows, process_settings, rows_of_whole_batch, save_once  # noqa: F401


def whole_value(value):
    return np.array(value)
