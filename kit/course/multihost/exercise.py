"""The exercise ``multihost`` as data: its checks, its codes and its hints. Imports no framework."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TYPE_CHECKING

from kit.checks.codes import Code
from kit.judge.catalogue import Check, Exercise

if TYPE_CHECKING:
    import jax
    import numpy as np


class MultihostExercise(Protocol):
    """What the exercise asks for."""

    def process_settings(self, environment: Mapping[str, str]) -> tuple[str, int, int]:
        """What Keras' environment variables say of this process, as ``keras.distribution.initialize`` takes it."""
        ...

    def own_rows(self, process_of_device: np.ndarray, batch_size: int, process: int) -> list[int]:
        """The rows of a batch that a process feeds, in the order in which it feeds them."""
        ...

    def rows_of_whole_batch(self, process_of_device: np.ndarray, rows_fed: int, process: int) -> int:
        """How many rows JAX takes the whole batch to have, by what one process feeds. Nobody else tells it."""
        ...

    def whole_value(self, value: jax.Array) -> np.ndarray:
        """The whole of an array whose shards may lie in several processes, in each of them. All processes must come here."""
        ...

    def save_once(
        self, values: Mapping[str, jax.Array], path: Path, process: int, *, gather: Callable[[jax.Array], Any] = ...
    ) -> None:
        """Write arrays to one file of NumPy's (.npz), by their names. All processes must come here, and process 0 alone writes."""
        ...


EXERCISE = Exercise(
    number=12,
    name="multihost",
    title="Several hosts",
    difficulty=3,
    minutes=40,
    prerequisites=("mesh", "checkpoint"),
    contract=MultihostExercise,
    advanced=True,
    hints=(
        "Draw the mesh, and write into each field the number of its process, not that of its "
        "device. Which rows of the drawing have a 1 in them? For the last two functions imagine "
        "both processes side by side, line by line: at which line does one of them need the "
        "other?",
        "Task 1: get of a mapping gives None for what is missing; catch what int raises. Tasks 2 "
        "and 3: len of the array is the number of parts, and `process in row` works for a row of "
        "it. Task 4: is_fully_addressable, NamedSharding, an empty PartitionSpec, and jax.jit "
        "with out_shardings. Task 5: sorted, and np.savez, which takes names as keywords.",
        "Task 1: one loop that refuses what is missing, one that makes numbers, one comparison "
        "with both bounds. Task 2: of all rows those whose part, by integer division, has the "
        "process in its row of the mesh. Task 3: how large one part is, times all parts. Task 4: "
        "an if with a sharding and a compiled function that returns its argument, and after it "
        "what NumPy reads. Task 5: a dictionary of all that was gathered, by sorted names, "
        "outside of any if; one line within one.",
    ),
    checks=(
        Check(
            "settings",
            "spec",
            "process_settings",
            limit=30,
            asks="The settings as Keras takes them, and a ValueError with a variable's name for each that makes no sense.",
        ),
        Check(
            "rows",
            "spec",
            "own_rows",
            limit=30,
            asks="On each mesh each process feeds what JAX says that its devices hold, in the order in which JAX takes it.",
        ),
        Check(
            "counts",
            "spec",
            "rows_of_whole_batch",
            limit=30,
            asks="By what one process feeds, the rows that the whole batch is taken to have.",
        ),
        Check(
            "whole",
            "spec",
            "whole_value",
            limit=30,
            asks="In one process: arrays that are split by either axis, by both, by none, or that have no mesh.",
        ),
        Check(
            "saves",
            "spec",
            "save_once",
            limit=30,
            asks="All processes gather the same in the same order, and process 0 alone writes.",
        ),
        Check(
            "two_processes",
            "train",
            "whole_value",
            limit=240,
            asks="Two processes of four devices train as an unsharded twin does, and come to their end.",
        ),
    ),
    codes={
        "MULTIHOST_WRONG_SETTINGS": Code(
            "Return the addresses as they are, how many processes there are, and the number of this one, the last two as int.",
            "One program, several processes",
        ),
        "MULTIHOST_SETTINGS_NOT_REFUSED": Code(
            "Refuse it before anything is started: with settings that make no sense processes wait for others that never come.",
            "One program, several processes",
        ),
        "MULTIHOST_ERROR_WITHOUT_NAME": Code(
            "Raise a ValueError of your own that has the whole name of the variable: there are three on each of many machines.",
            "One program, several processes",
        ),
        "MULTIHOST_WRONG_ROWS": Code(
            "Go by the rows of the mesh: a process feeds the part of each in which it has a device, wherever the row stands.",
            "Which rows a process feeds",
        ),
        "MULTIHOST_WRONG_ROW_ORDER": Code(
            "Name each row once, in ascending order: devices of one row of the mesh hold the same part.",
            "Which rows a process feeds",
        ),
        "MULTIHOST_BATCH_NOT_REFUSED": Code(
            "Raise a ValueError that has both numbers, unless the axis divides the batch.",
            "Which rows a process feeds",
        ),
        "MULTIHOST_WRONG_COUNT": Code(
            "Divide by the rows of the mesh that this process has a device in, and multiply by all of them.",
            "Predict",
        ),
        "MULTIHOST_NOT_WHOLE": Code(
            "What spans processes must first be copied whole to each device, by all of them; then each can read its own copy.",
            "What no process can read alone",
        ),
        "MULTIHOST_COLLECTIVES_DIFFER": Code(
            "Call `gather` for each array in every process, in an order that depends on the names alone; what is done with it may differ.",
            "The same collectives in the same order",
        ),
        "MULTIHOST_WRITTEN_TWICE": Code(
            "Write only if the number that is given is 0: two processes that write one file leave a mixture of both.",
            "The same collectives in the same order",
        ),
        "MULTIHOST_WRONG_FILE": Code(
            "Give np.savez the path and the gathered arrays by their own names.",
            "The same collectives in the same order",
        ),
        "MULTIHOST_PROCESSES_HANG": Code(
            "Look for a condition on the number of the process around something that all must do, or for a loop whose order differs.",
            "The same collectives in the same order",
        ),
    },
)
