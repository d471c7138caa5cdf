"""Several processes that train one model: what each feeds, what none of them can read alone, and what all must do together."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np


def process_settings(environment: Mapping[str, str]) -> tuple[str, int, int]:
    """What Keras' environment variables say of this process, as ``keras.distribution.initialize`` takes it.

    Args:
        environment: Variables by name, as in ``os.environ``: KERAS_DISTRIBUTION_JOB_ADDRESSES (host:port of process 0, or of
            all, with commas), KERAS_DISTRIBUTION_NUM_PROCESSES and KERAS_DISTRIBUTION_PROCESS_ID (from 0).

    Returns:
        The addresses as they are given, how many processes there are, and the number of this one.

    Raises:
        ValueError: with the name of the variable in its text, if one is missing or empty, if a number is not whole, or if
            there can be no process of this number.

    """
    # Task 1: Return the three. Refuse what is missing or empty, numbers that are not whole, and numbers of a process that are below 0
    # or not below how many there are; each text has the whole name of the variable.
    raise NotImplementedError("multihost, task 1")


def own_rows(process_of_device: np.ndarray, batch_size: int, process: int) -> list[int]:
    """The rows of a batch that a process feeds, in the order in which it feeds them.

    The batch is split over the axis "batch", into as many parts as that is long. All devices of one row of the mesh hold the
    same part, whatever process they belong to.

    Args:
        process_of_device: For each device of the mesh the number of its process, shape (batch, model).
        batch_size: Rows of the whole batch.
        process: The number of the process.

    Raises:
        ValueError: with both numbers, if the axis does not divide the batch.

    """
    # Task 2: Return the rows that devices of this process hold, each once, in ascending order:
    # `jax.make_array_from_process_local_data` takes them so, wherever the devices stand in the mesh.
    raise NotImplementedError("multihost, task 2")


def rows_of_whole_batch(process_of_device: np.ndarray, rows_fed: int, process: int) -> int:
    """How many rows JAX takes the whole batch to have, by what one process feeds. Nobody else tells it.

    Args:
        process_of_device: For each device of the mesh the number of its process, shape (batch, model).
        rows_fed: Rows that the process feeds, which the parts that its devices hold divide.
        process: The number of the process.

    """
    # Task 3: Return the number: all parts are as large as those that this process feeds.
    raise NotImplementedError("multihost, task 3")


def whole_value(value: jax.Array) -> np.ndarray:
    """The whole of an array whose shards may lie in several processes, in each of them. All processes must come here.

    Args:
        value: Of any sharding, any shape; on one device or many, of one process or several.

    """
    # Task 4: What this process can address all of, NumPy can read. Of anything else, have each device of the array's mesh make a whole
    # copy first: a compiled function that gives back what it is given, with `out_shardings` for it.
    raise NotImplementedError("multihost, task 4")


def save_once(
    values: Mapping[str, jax.Array], path: Path, process: int, gather: Callable[[jax.Array], Any] = whole_value
) -> None:
    """Write arrays to one file of NumPy's (.npz), by their names. All processes must come here, and process 0 alone writes.

    Args:
        values: Arrays by name. All processes have the same names, and perhaps in another order.
        path: A file that is not there yet, in a folder that is; it ends with ".npz".
        process: The number of this process.
        gather: Gives the whole of an array, for NumPy, if all processes call it at the same time for the same array.

    """
    # Task 5: Gather all arrays in every process, in an order that is the same in all of them; then write, if this is process 0.
    raise NotImplementedError("multihost, task 5")
