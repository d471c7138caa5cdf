"""What a training process reports: its observations, and a file with one JSON object per line.

The process runs learner code, so its report is never unpickled.
"""

import base64
import dataclasses
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kit.checks.diagnosis import Diagnosis
from kit.course.multihost.saved_file import SavedFile
from kit.judge.observation import Outcome, Raised, Returned, Stopped


@dataclass(frozen=True)
class Request:
    """What a process is started with."""

    #: The implementation, as ``--impl`` takes it.
    impl: str
    #: The number of the process.
    number: int
    folder: str

    @property
    def report(self) -> Path:
        """The file that it reports to."""
        return Path(self.folder) / f"report-{self.number}.jsonl"

    @property
    def saved(self) -> Path:
        """The file that its ``save_once`` is given; no other process gets this path."""
        return Path(self.folder) / f"saved-by-{self.number}.npz"

    @property
    def printed(self) -> Path:
        """The file with its output."""
        return Path(self.folder) / f"printed-{self.number}"

    def as_json(self) -> str:
        """For a command line."""
        return json.dumps(dataclasses.asdict(self))


@dataclass(frozen=True)
class SettingsSeen:
    """A call of ``process_settings``."""

    process: int
    #: Addresses, number of processes, number of this one.
    expected: tuple[str, int, int]
    #: Values as plain data.
    outcome: Outcome[tuple[Any, ...]]


@dataclass(frozen=True)
class WholeSeen:
    """A call of ``whole_value`` for an array over all processes."""

    process: int
    array: str
    shape: tuple[int, ...]
    #: Number and shape of the shards in this process.
    shards: tuple[int, tuple[int, ...]]
    #: The array's values, where every process knows them.
    expected: np.ndarray | None
    outcome: Outcome[np.ndarray]


@dataclass(frozen=True)
class RowsSeen:
    """A call of ``own_rows``."""

    process: int
    #: The rows that the devices of this process hold, according to JAX.
    expected: list[int]
    outcome: Outcome[list[int]]


@dataclass(frozen=True)
class CountSeen:
    """A call of ``rows_of_whole_batch``."""

    process: int
    rows_fed: int
    #: The rows of the whole batch, according to JAX.
    expected: int
    #: Text if it is no number.
    outcome: Outcome[float | str]


@dataclass(frozen=True)
class StepSeen:
    """A training step on the rows of ``own_rows``."""

    process: int
    loss: float


@dataclass(frozen=True)
class SaveSeen:
    """A call of ``save_once``."""

    process: int
    outcome: Outcome[None]


Seen = SettingsSeen | WholeSeen | RowsSeen | CountSeen | StepSeen | SaveSeen


@dataclass(frozen=True)
class Report:
    """What a process has reported."""

    #: What it was doing last.
    doing: str
    seen: tuple[Seen, ...]
    #: "finished", "stopped", "crashed", or empty while it runs.
    end: str
    #: The error, if it crashed.
    error: str = ""
    #: The diagnosis, if it stopped.
    diagnosis: Diagnosis | None = None


@dataclass(frozen=True)
class Death:
    """A process ended by itself; it should run until it is killed."""

    process: int
    exit_code: int
    #: The last line that it printed.
    printed: str


@dataclass(frozen=True)
class TwoProcesses:
    """How a training of two processes ended."""

    reports: tuple[Report, ...]
    death: Death | None = None
    #: Seconds in which no process made progress, if they waited for each other.
    waited: float | None = None
    #: Bytes of the file that each process's ``save_once`` was given; None if it does not exist.
    sizes: tuple[int | None, ...] = ()
    #: The content of the file of process 0.
    saved: SavedFile | None = None


_TYPES: dict[str, type] = {
    kind.__name__: kind
    for kind in (
        *(SettingsSeen, WholeSeen, RowsSeen, CountSeen, StepSeen, SaveSeen),
        *(Returned, Raised, Stopped, Diagnosis),
    )
}


def encode(value: Any) -> Any:
    """An observation as JSON has it."""
    if isinstance(value, np.ndarray):
        content = io.BytesIO()
        np.save(content, value, allow_pickle=False)
        return {"array": base64.b64encode(content.getvalue()).decode()}
    if dataclasses.is_dataclass(value):
        fields = {field.name: encode(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"type": type(value).__name__, "fields": fields}
    if isinstance(value, tuple):
        return {"tuple": [encode(item) for item in value]}
    return [encode(item) for item in value] if isinstance(value, list) else value


def decode(value: Any) -> Any:
    """What :func:`encode` was given."""
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return np.load(io.BytesIO(base64.b64decode(value["array"])), allow_pickle=False)
    if "tuple" in value:
        return tuple(decode(item) for item in value["tuple"])
    fields = {name: decode(field) for name, field in value["fields"].items()}
    return _TYPES[value["type"]](**fields)
