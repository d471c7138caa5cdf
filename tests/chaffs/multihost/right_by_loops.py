"""PASSES: rows by counting, in a tuple; a batch that is written down and measured; names in the reverse order."""

import numpy as np

from kit.reference.multihost import process_settings, whole_value  # noqa: F401


def own_rows(process_of_device, batch_size, process):
    part, left = divmod(batch_size, len(process_of_device))
    if left:
        raise ValueError(f"{batch_size} rows do not go over {len(process_of_device)} rows of devices")
    rows = []
    for number, devices in enumerate(process_of_device.tolist()):
        if process in devices:
            rows.extend(range(part * number, part * number + part))
    return tuple(rows)


def rows_of_whole_batch(process_of_device, rows_fed, process):
    size = len(process_of_device)
    while len(own_rows(process_of_device, size, process)) < rows_fed:
        size += len(process_of_device)
    return size


def save_once(values, path, process, gather=whole_value):
    whole = {}
    for name in sorted(values, reverse=True):
        whole[name] = gather(values[name])
    if not process:
        with path.open("wb") as file:
            np.savez(file, **whole)
