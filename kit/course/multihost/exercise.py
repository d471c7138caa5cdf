"""The exercise ``multihost`` as data: its checks, its codes and its hints. Imports no framework."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from kit.judge.catalogue import Exercise

if TYPE_CHECKING:
    import jax
    import numpy as np


class MultihostExercise(Protocol):
    """The functions to write."""

    def process_settings(self, environment: Mapping[str, str]) -> tuple[str, int, int]:
        """Return the settings of this process, as ``keras.distribution.initialize`` takes them."""

    def own_rows(self, process_of_device: np.ndarray, batch_size: int, process: int) -> list[int]:
        """Return the rows of a batch that a process feeds, in the order in which it feeds them."""

    def rows_of_whole_batch(self, process_of_device: np.ndarray, rows_fed: int, process: int) -> int:
        """Return how many rows JAX infers for the whole batch from those that one process feeds."""

    def whole_value(self, value: jax.Array) -> np.ndarray:
        """Return the whole of an array whose shards may be in different processes."""

    def save_once(
        self, values: Mapping[str, jax.Array], path: Path, process: int, *, gather: Callable[[jax.Array], Any] = ...
    ) -> None:
        """Write arrays to one NumPy file (.npz), under their names."""


EXERCISE = Exercise(
    number=12,
    name="multihost",
    title="Several hosts",
    difficulty=3,
    minutes=40,
    prerequisites=("mesh", "checkpoint"),
    contract=MultihostExercise,
    advanced=True,
    learned="Each process feeds its own rows, all run the same collectives in the same order, and one writes.",
    hints=(
        "Draw the mesh, and label each cell with its process number, not with the device's. Which rows of the drawing "
        "contain a 1? For the last two functions, imagine both processes side by side, line by line: at which line "
        "does one process wait for the other?",
        "Task 1: `get` of a mapping returns None for a missing name; `str.isdecimal`. Tasks 2 and 3: `len` "
        "of the array is the number of parts, and `process in row` works for a row of it. Task 4: "
        "is_fully_addressable, NamedSharding, an empty PartitionSpec, and jax.jit with out_shardings. Task 5: sorted, "
        "and np.savez, which takes names as keywords.",
        "Task 1: one loop for missing variables, one that converts the numbers, and one comparison. "
        "Task 2: keep each row of the batch whose part, by integer division, has the process in its row of the mesh. "
        "Task 3: the size of one part, times all parts. Task 4: an if that replaces the value with the result of a "
        "compiled function that returns its argument; after it, let NumPy read the value. Task 5: a dictionary of all "
        "gathered arrays, by sorted names, outside any if; one line inside an if.",
    ),
    questions={
        ("spec", "process_settings", 30): {
            "settings": "Valid settings must be returned; for invalid ones, a ValueError must name the variable."
        },
        ("spec", "own_rows", 30): {
            "rows": "On each mesh, each process must feed the rows that JAX places on its devices, in JAX' order."
        },
        ("spec", "rows_of_whole_batch", 30): {
            "counts": "The rows of the whole batch must follow from the rows that one process feeds."
        },
        ("spec", "whole_value", 30): {
            "whole": "In one process, arrays must be read that are sharded over either axis, both or none, or have no "
            "mesh."
        },
        ("spec", "save_once", 30): {
            "saves": "All processes must gather the same arrays in the same order, and only process 0 may write."
        },
        ("train", "whole_value", 240): {
            "two_processes": "Two processes of four devices must train as an unsharded twin does, and finish."
        },
    },
    remedies={
        "One program, several processes": {
            "MULTIHOST_WRONG_SETTINGS": "Return the addresses unchanged, the number of processes, and the number of "
            "this process, the last two as int.",
            "MULTIHOST_SETTINGS_NOT_REFUSED": "Raise the error before anything starts: with invalid settings, "
            "processes wait for others that do not exist.",
            "MULTIHOST_ERROR_WITHOUT_NAME": "Raise a ValueError of your own with the full name of the variable: each "
            "machine has three of them.",
        },
        "Which rows a process feeds": {
            "MULTIHOST_WRONG_ROWS": "Look at the rows of the mesh: a process feeds the part of each row in which it "
            "has a device.",
            "MULTIHOST_WRONG_ROW_ORDER": "Return each row once, in ascending order: devices in one row of the mesh "
            "hold the same part.",
            "MULTIHOST_BATCH_NOT_REFUSED": "Unless the axis divides the batch, raise a ValueError with both numbers.",
        },
        "Predict": {
            "MULTIHOST_WRONG_COUNT": "Divide by the number of rows of the mesh in which this process has a device, "
            "and multiply by the number of all rows."
        },
        "What no single process can read": {
            "MULTIHOST_NOT_WHOLE": "Let all processes make a replicated copy of an array that spans processes; then "
            "each can read its own."
        },
        "The same collectives in the same order": {
            "MULTIHOST_COLLECTIVES_DIFFER": "Call `gather` for each array in every process, in an order that depends "
            "only on the names.",
            "MULTIHOST_WRITTEN_TWICE": "Write only if the given process number is 0: two processes that write one "
            "file corrupt it.",
            "MULTIHOST_WRONG_FILE": "Pass the path and the gathered arrays to np.savez, each array under its own name.",
            "MULTIHOST_PROCESSES_HANG": "Look for an if on the process number around a collective, or for a loop "
            "whose order differs.",
        },
    },
)
