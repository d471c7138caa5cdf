"""Several processes that train one model: what each feeds, reads, gathers and writes."""

import string
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
    def read(setting: str) -> tuple[str, str]:
        variable = "KERAS_DISTRIBUTION_" + setting
        text = environment[variable] if variable in environment else ""
        if text == "":
            raise ValueError(f"Set {variable}: it is missing or empty.")
        return variable, text

    def read_number(setting: str) -> tuple[str, int]:
        variable, text = read(setting)
        if set(text) - set(string.digits):
            raise ValueError(f"Set {variable} to an integer in digits; it is {text!r}.")
        return variable, int(text)

    _, addresses = read("JOB_ADDRESSES")
    count_variable, count = read_number("NUM_PROCESSES")
    own_variable, own = read_number("PROCESS_ID")
    if own not in range(count):
        raise ValueError(f"No process has the number {own} ({own_variable}) if there are {count} ({count_variable}).")
    return addresses, count, own


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
    parts = len(process_of_device)
    size, rest = divmod(batch_size, parts)
    if rest:
        raise ValueError(f"The axis has {parts} parts, which do not divide {batch_size} rows.")
    mine = np.any(np.equal(process_of_device, process), axis=1)
    return np.arange(batch_size).reshape(parts, size)[mine].reshape(-1).tolist()


def rows_of_whole_batch(process_of_device: np.ndarray, rows_fed: int, process: int) -> int:
    """Return how many rows JAX infers for the whole batch from those that one process feeds.

    Args:
        process_of_device: The process of each device of the mesh, of shape (batch, model).
        rows_fed: Rows that the process feeds; a multiple of the number of parts that it feeds.
        process: The number of the process.

    """
    with_rows = sum(process in row for row in process_of_device.tolist())
    return len(process_of_device) * rows_fed // with_rows


def whole_value(value: jax.Array) -> np.ndarray:
    """Return the whole of an array whose shards may be in different processes.

    All processes must call this function, and each gets the whole array.

    Args:
        value: An array of any shape and sharding, on one device or many, in one process or many.

    """
    def same(array: jax.Array) -> jax.Array:
        return array

    if not value.is_fully_addressable:
        everywhere = jax.NamedSharding(value.sharding.mesh, jax.P())
        value = jax.jit(same, out_shardings=everywhere)(value).addressable_data(0)
    return np.asarray(value)


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
    names = list(values)
    names.sort()
    whole = [np.asarray(gather(array)) for array in map(values.__getitem__, names)]
    if process != 0:
        return
    np.savez(path, **dict(zip(names, whole, strict=True)))
