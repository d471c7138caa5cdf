"""Several processes that train one model: what each feeds, reads, gathers and writes."""

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
        ValueError: if a variable is missing or empty, if a number does not consist of digits, or if
            no process can have this number; the message has the name of the variable.

    """
    # Task 1: Return the three settings. Raise an error for a variable that is missing or empty,
    # for a number that does not consist of digits as `str.isdecimal` says ("1_0" and "-1" do not),
    # and for a process number that is not below the number of processes. Each message has the full
    # name of the variable that is wrong; in the last case this is the process number's.
    names = [f"KERAS_DISTRIBUTION_{name}" for name in ("JOB_ADDRESSES", "NUM_PROCESSES", "PROCESS_ID")]
    for name in names:
        if not environment.get(name):
            raise ValueError(f"{name} is missing or empty.")
    for name in names[1:]:
        if not environment[name].isdecimal():
            raise ValueError(f"{name} is {environment[name]!r}: it must consist of digits.")
    addresses, processes, process = environment[names[0]], int(environment[names[1]]), int(environment[names[2]])
    if process >= processes:
        raise ValueError(f"{names[2]} is {process}: with {processes} processes it must be lower.")
    return addresses, processes, process


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
    parts = len(process_of_device)
    if batch_size % parts:
        raise ValueError(f"A batch of {batch_size} rows cannot be split into {parts} equal parts.")
    size = batch_size // parts
    own = [part for part in range(parts) if process in process_of_device[part]]
    if not own:
        return []
    return list(range(own[0] * size, (own[-1] + 1) * size))


def rows_of_whole_batch(process_of_device: np.ndarray, rows_fed: int, process: int) -> int:
    """Return how many rows JAX infers for the whole batch from those that one process feeds.

    Args:
        process_of_device: The process of each device of the mesh, of shape (batch, model).
        rows_fed: Rows that the process feeds; a multiple of the number of parts that it feeds.
        process: The number of the process.

    """
    # Task 3: Return the number of rows. JAX assumes that all parts are as large as those fed here.
    own = sum(1 for row in process_of_device if process in row)
    return rows_fed // own * len(process_of_device)


def whole_value(value: jax.Array) -> np.ndarray:
    """Return the whole of an array whose shards may be in different processes.

    All processes must call this function, and each gets the whole array.

    Args:
        value: An array of any shape and sharding, on one device or many, in one process or many.

    """
    # Task 4: NumPy can read an array if all of it is in this process. For any other array, first
    # make a replicated copy on each device of its mesh, with a compiled function that
    # returns its argument, and `out_shardings`.
    if value.is_fully_addressable:
        return np.asarray(value)
    whole = jax.sharding.NamedSharding(value.sharding.mesh, jax.sharding.PartitionSpec())
    copy = jax.jit(lambda array: array, out_shardings=whole)(value)
    return np.asarray(copy.addressable_data(0))


def save_once(
    values: Mapping[str, jax.Array], path: Path, process: int, gather: Callable[[jax.Array], Any] = whole_value
) -> None:
    """Write arrays to one NumPy file (.npz), under their names.

    All processes must call this function, and only process 0 writes.

    Args:
        values: Arrays by name: the same names in all processes, possibly in different orders. The
            dtypes are NumPy's, and no name is "file", a parameter of ``np.savez``.
        path: A file that does not exist yet, in an existing folder; it ends with ".npz".
        process: The number of this process.
        gather: Returns the whole of an array, for NumPy, if all processes call it at the same time
            for the same array.

    """
    # Task 5: Gather all arrays in every process, in an order that is the same in all of them. Then
    # write the file if this is process 0.
    arrays = {name: np.asarray(gather(values[name])) for name in sorted(values)}
    if process == 0:
        np.savez(path, **arrays)
