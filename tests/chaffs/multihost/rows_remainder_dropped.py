"""MULTIHOST_BATCH_NOT_REFUSED: what is left over is left out."""

from kit.reference.multihost import process_settings, rows_of_whole_batch, save_once, whole_value  # noqa: F401


def own_rows(process_of_device, batch_size, process):
    part = batch_size // len(process_of_device)
    return [row for row in range(part * len(process_of_device)) if process in process_of_device[row // part]]
