"""Several processes that train one model: what each feeds, reads, gathers and writes."""

import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np


def process_settings(environment: Mapping[str, str]) -> tuple[str, int, int]:
    """Return the settings of this process, as ``keras.distribution.initialize`` takes them.

    Args:
        environment: Variables by name, as in ``os.environ``: KERAS_DISTRIBUTION_JOB_ADDRESSES
            (host:port of process 0, or of all processes, separated by commas),
            KERAS_DISTRIBUTION_NUM_PROCESSES and KERAS_DISTRIBUTION_PROCESS_ID (from 0).

    Returns:
        The addresses unchanged, the number of processes, and the number of this process.

    Raises:
        ValueError: if a variable is missing or empty, if a number is not an integer in digits, or
            if no process can have this number; the message has the name of the variable.

    """
    # Task 1: Return the three settings. Raise an error for a variable that is missing or empty,
    # for a number that is not an integer in digits, and for a process number below 0 or not below
    # the number of processes. Each message has the full name of the variable.
    names = [f"KERAS_DISTRIBUTION_{end}" for end in ("JOB_ADDRESSES", "NUM_PROCESSES", "PROCESS_ID")]
    values = [environment.get(name, "") for name in names]
    for name, value in zip(names, values, strict=True):
        if value == "":
            raise ValueError(f"The variable {name} is missing or empty.")
    numbers = []
    for name, value in zip(names[1:], values[1:], strict=True):
        if re.fullmatch("[0-9]+", value) is None:
            raise ValueError(f"{name}={value!r} is not an integer in digits.")
        numbers.append(int(value))
    if numbers[1] not in range(numbers[0]):
        raise ValueError(f"No process can have {names[2]}={numbers[1]} if {names[1]}={numbers[0]}: numbers begin at 0.")
    return values[0], numbers[0], numbers[1]


def own_rows(process_of_device: np.ndarray, batch_size: int, process: int) -> list[int]:
    """Return the rows of a batch that a process feeds, in the order in which it feeds them.

    The batch is sharded over the axis "batch", into as many parts as the axis has devices. All
    devices of one row of the mesh hold the same part, whichever process they belong to.

    Args:
        process_of_device: The process of each device of the mesh, of shape (batch, model).
        batch_size: Rows of the whole batch.
        process: The number of the process.

    Raises:
        ValueError: if the axis does not divide the batch; the message has both numbers.

    """
    # Task 2: Return the rows that devices of this process hold, each once, in ascending order. This
    # is the order that `jax.make_array_from_process_local_data` takes, for any mesh.
    parts = process_of_device.shape[0]
    if batch_size % parts != 0:
        raise ValueError(f'The axis "batch" has size {parts}, which does not divide a batch of {batch_size} rows.')
    by_part = np.arange(batch_size).reshape(parts, batch_size // parts)
    own = np.array([process in row for row in process_of_device.tolist()], dtype=bool)
    return by_part[own].ravel().tolist()


def rows_of_whole_batch(process_of_device: np.ndarray, rows_fed: int, process: int) -> int:
    """Return how many rows JAX infers for the whole batch from those that one process feeds.

    Args:
        process_of_device: The process of each device of the mesh, of shape (batch, model).
        rows_fed: Rows that the process feeds; a multiple of the number of parts that it feeds.
        process: The number of the process.

    """
    # Task 3: Return the number of rows. JAX assumes that all parts are as large as those fed here.
    parts = process_of_device.tolist()
    fed = [row for row in parts if process in row]
    rows_in_a_part = rows_fed // len(fed)
    return rows_in_a_part * len(parts)


def _same(value: jax.Array) -> jax.Array:
    return value


def whole_value(value: jax.Array) -> np.ndarray:
    """Return the whole of an array whose shards may be in different processes.

    All processes must call this function, and each gets the whole array.

    Args:
        value: An array of any shape and sharding, on one device or many, in one process or many.

    """
    # Task 4: NumPy can read an array if all of it is in this process. For any other array, first
    # make a replicated copy on each device of its mesh, with a compiled function that
    # returns its argument, and `out_shardings`.
    if not value.is_fully_addressable:
        whole = jax.NamedSharding(value.sharding.mesh, jax.P())
        value = jax.jit(_same, out_shardings=whole)(value).addressable_shards[0].data
    return np.array(value)


def save_once(
    values: Mapping[str, jax.Array], path: Path, process: int, gather: Callable[[jax.Array], Any] = whole_value
) -> None:
    """Write arrays to one NumPy file (.npz), under their names.

    All processes must call this function, and only process 0 writes.

    Args:
        values: Arrays by name. All processes have the same names, possibly in different orders.
        path: A file that does not exist yet, in an existing folder; it ends with ".npz".
        process: The number of this process.
        gather: Returns the whole of an array, for NumPy, if all processes call it at the same time
            for the same array.

    """
    # Task 5: Gather all arrays in every process, in an order that is the same in all of them. Then
    # write the file if this is process 0.
    names = sorted(values)
    arrays = [np.asarray(gather(values[name])) for name in names]
    if process != 0:
        return
    # As np.savez does; but any name works, also "file".
    with zipfile.ZipFile(path, "x", allowZip64=True) as archive:
        for name, array in zip(names, arrays, strict=True):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)
