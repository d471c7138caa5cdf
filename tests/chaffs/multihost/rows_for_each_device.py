"""MULTIHOST_WRONG_ROW_ORDER: a part is fed for each device, also where two of them hold the same."""

from kit.reference.multihost import process_settings, rows_of_whole_batch, save_once, whole_value  # noqa: F401


def own_rows(process_of_device, batch_size, process):
    parts, model = process_of_device.shape
    if batch_size % parts:
        raise ValueError(f"{batch_size} rows on {parts}.")
    part = batch_size // parts
    return [
        row
        for batch_row in range(parts)
        for column in range(model)
        if process_of_device[batch_row, column] == process
        for row in range(batch_row * part, (batch_row + 1) * part)
    ]
