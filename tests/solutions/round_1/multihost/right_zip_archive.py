"""Several processes that train one model: what each feeds, reads, gathers and writes."""

import functools
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np


@functools.cache
def _replicate(mesh: jax.sharding.Mesh) -> Callable[[jax.Array], jax.Array]:
    """Make the compiled function that copies an array to each device of a mesh."""
    everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    return jax.jit(lambda array: array, out_shardings=everywhere)


def process_settings(environment: Mapping[str, str]) -> tuple[str, int, int]:
    """Return the settings of this process, as ``keras.distribution.initialize`` takes them.

    Args:
        environment: Variables by name, as in ``os.environ``: KERAS_DISTRIBUTION_JOB_ADDRESSES
            (host:port of process 0, or of all processes, separated by commas),
            KERAS_DISTRIBUTION_NUM_PROCESSES and KERAS_DISTRIBUTION_PROCESS_ID (from 0).

    Returns:
        The addresses unchanged, the number of processes, and the number of this process.

    Raises:
        ValueError: if a variable is missing or empty, if a number is not an integer, or if no
            process can have this number; the message has the name of the variable.

    """
    def read(variable: str) -> str:
        text = environment.get(variable) or ""
        if not text:
            raise ValueError(f"Set {variable}: it is missing or empty.")
        return text

    def read_integer(variable: str) -> int:
        text = read(variable)
        try:
            return int(text)
        except ValueError as error:
            raise ValueError(f"{variable} must be an integer, not {text!r}.") from error

    addresses = read("KERAS_DISTRIBUTION_JOB_ADDRESSES")
    count = read_integer("KERAS_DISTRIBUTION_NUM_PROCESSES")
    process = read_integer("KERAS_DISTRIBUTION_PROCESS_ID")
    if process not in range(count):
        raise ValueError(
            f"KERAS_DISTRIBUTION_PROCESS_ID is {process}, but KERAS_DISTRIBUTION_NUM_PROCESSES is {count}."
        )
    return addresses, count, process


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
    parts, _ = process_of_device.shape
    size, remainder = divmod(batch_size, parts)
    if remainder:
        raise ValueError(f"{parts} parts do not divide {batch_size} rows.")
    mine = np.any(process_of_device == process, axis=1)
    return np.flatnonzero(np.repeat(mine, size)).tolist()


def rows_of_whole_batch(process_of_device: np.ndarray, rows_fed: int, process: int) -> int:
    """Return how many rows JAX infers for the whole batch from those that one process feeds.

    Args:
        process_of_device: The process of each device of the mesh, of shape (batch, model).
        rows_fed: Rows that the process feeds; a multiple of the number of parts that it feeds.
        process: The number of the process.

    """
    parts_of_process: dict[int, set[int]] = {}
    for (part, _), owner in np.ndenumerate(process_of_device):
        parts_of_process.setdefault(int(owner), set()).add(part)
    return rows_fed * len(process_of_device) // len(parts_of_process[process])


def whole_value(value: jax.Array) -> np.ndarray:
    """Return the whole of an array whose shards may be in different processes.

    All processes must call this function, and each gets the whole array.

    Args:
        value: An array of any shape and sharding, on one device or many, in one process or many.

    """
    if not value.is_fully_addressable:
        value = _replicate(value.sharding.mesh)(value).addressable_shards[0].data
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
    gathered = [(name, gather(value)) for name, value in sorted(values.items(), key=lambda item: item[0])]
    if process != 0:
        return
    with zipfile.ZipFile(path, mode="x") as archive:
        for name, array in gathered:
            with archive.open(f"{name}.npy", mode="w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)
