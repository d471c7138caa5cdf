"""MULTIHOST_PROCESSES_HANG: process 0 alone gathers, and the other waits until it has: both wait."""

import jax
from jax.experimental import multihost_utils

from kit.reference.multihost import own_rows, process_settings, rows_of_whole_batch, save_once  # noqa: F401
from kit.reference.multihost import whole_value as gathered


def whole_value(value):
    if value.is_fully_addressable or jax.process_index() == 0:
        found = gathered(value)
    multihost_utils.sync_global_devices("gathered")
    return found
