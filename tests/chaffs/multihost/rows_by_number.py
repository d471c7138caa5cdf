"""MULTIHOST_WRONG_ROWS: each process feeds an equal share by its number, wherever the mesh has its devices."""

import numpy as np

from kit.reference.multihost import process_settings, rows_of_whole_batch, save_once, whole_value  # noqa: F401


def own_rows(process_of_device, batch_size, process):
    if batch_size % len(process_of_device):
        raise ValueError(f"{batch_size} rows on {len(process_of_device)}.")
    return np.array_split(np.arange(batch_size), len(np.unique(process_of_device)))[process].tolist()
