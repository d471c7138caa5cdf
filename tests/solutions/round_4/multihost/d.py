"""Several processes that train one model: what each feeds, reads, gathers and writes."""

import functools
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec


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
    found = {}
    for short, pattern in (("JOB_ADDRESSES", r"(?s).+"), ("NUM_PROCESSES", "[0-9]+"), ("PROCESS_ID", "[0-9]+")):
        name = f"KERAS_DISTRIBUTION_{short}"
        match environment.get(name):
            case None | "":
                raise ValueError(f"Set {name}: it is missing or empty.")
            case text if re.fullmatch(pattern, text) is None:
                raise ValueError(f"{name} has to be an integer in digits and is {text!r}.")
            case text:
                found[short] = text
    settings = found["JOB_ADDRESSES"], int(found["NUM_PROCESSES"]), int(found["PROCESS_ID"])
    if settings[2] not in range(settings[1]):
        raise ValueError(
            f"No process can have the number in KERAS_DISTRIBUTION_PROCESS_ID, {settings[2]}: "
            f"KERAS_DISTRIBUTION_NUM_PROCESSES is {settings[1]}."
        )
    return settings


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
    parts = process_of_device.shape[0]
    size, rest = divmod(batch_size, parts)
    if rest:
        raise ValueError(f"{batch_size} rows cannot be divided into {parts} equal parts.")
    mine = np.any(np.equal(process_of_device, process), axis=1)
    return np.flatnonzero(np.repeat(mine, size)).tolist()


def rows_of_whole_batch(process_of_device: np.ndarray, rows_fed: int, process: int) -> int:
    """Return how many rows JAX infers for the whole batch from those that one process feeds.

    Args:
        process_of_device: The process of each device of the mesh, of shape (batch, model).
        rows_fed: Rows that the process feeds; a multiple of the number of parts that it feeds.
        process: The number of the process.

    """
    parts_fed = sum(process in row for row in process_of_device.tolist())
    return rows_fed * process_of_device.shape[0] // parts_fed


def whole_value(value: jax.Array) -> np.ndarray:
    """Return the whole of an array whose shards may be in different processes.

    All processes must call this function, and each gets the whole array.

    Args:
        value: An array of any shape and sharding, on one device or many, in one process or many.

    """
    if value.is_fully_addressable:
        return np.asarray(value)


    @functools.partial(jax.jit, out_shardings=NamedSharding(value.sharding.mesh, PartitionSpec()))
    def everywhere(array: jax.Array) -> jax.Array:
        return array


    return np.asarray(everywhere(value).addressable_shards[0].data)


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
    wholes: list[tuple[str, np.ndarray]] = []
    for name, value in sorted(values.items(), key=lambda item: item[0]):
        wholes.append((name, np.asanyarray(gather(value))))
    if process:
        return
    with zipfile.ZipFile(path, "w", allowZip64=True) as archive:
        for name, whole in wholes:
            with archive.open(name + ".npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, whole, allow_pickle=False)
