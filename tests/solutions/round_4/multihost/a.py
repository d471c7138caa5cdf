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
        ValueError: if a variable is missing or empty, if a number is not an integer in digits, or
            if no process can have this number; the message has the name of the variable.

    """
    def setting(name: str) -> tuple[str, str]:
        name = "KERAS_DISTRIBUTION_" + name
        if not environment.get(name):
            raise ValueError(f"{name} is missing or empty")
        return name, environment[name]


    def number(name: str) -> int:
        name, text = setting(name)
        if not (text.isascii() and text.isdigit()):
            raise ValueError(f"{name} must be an integer in digits, not {text!r}")
        return int(text)


    _, addresses = setting("JOB_ADDRESSES")
    addresses = ",".join(address.strip() for address in addresses.split(",") if address.strip())
    processes, process = number("NUM_PROCESSES"), number("PROCESS_ID")
    if not 0 <= process < processes:
        raise ValueError(
            f"KERAS_DISTRIBUTION_PROCESS_ID is {process}, but KERAS_DISTRIBUTION_NUM_PROCESSES is {processes}"
        )
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
    parts = len(process_of_device)
    if batch_size % parts:
        raise ValueError(f"The axis \"batch\" of {parts} does not divide a batch of {batch_size}.")
    size = batch_size // parts
    return [
        row for part in range(parts) if process in process_of_device[part] for row in range(part * size, (part + 1) * size)
    ]


def rows_of_whole_batch(process_of_device: np.ndarray, rows_fed: int, process: int) -> int:
    """Return how many rows JAX infers for the whole batch from those that one process feeds.

    Args:
        process_of_device: The process of each device of the mesh, of shape (batch, model).
        rows_fed: Rows that the process feeds; a multiple of the number of parts that it feeds.
        process: The number of the process.

    """
    fed = int((process_of_device == process).any(axis=1).sum())
    return rows_fed // fed * len(process_of_device)


def whole_value(value: jax.Array) -> np.ndarray:
    """Return the whole of an array whose shards may be in different processes.

    All processes must call this function, and each gets the whole array.

    Args:
        value: An array of any shape and sharding, on one device or many, in one process or many.

    """
    if not value.is_fully_addressable:
        replicated = jax.sharding.NamedSharding(value.sharding.mesh, jax.sharding.PartitionSpec())
        value = jax.jit(lambda x: x, out_shardings=replicated)(value)
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
    arrays = {name: np.asarray(gather(values[name])) for name in sorted(values)}
    if process == 0:
        np.savez(path, **arrays)
