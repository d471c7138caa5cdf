"""What a training process reports: its observations, in a file with one JSON object per line.

The process runs learner code, so its report is never unpickled. It judges its observations too: it
stops after one that fails, because its next collective would wait for the other process, or the
other for it. The verdict is that of the check.
"""

import base64
import dataclasses
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kit.checks.diagnosis import Diagnosis, Failed
from kit.course.multihost.reading import SavedFile
from kit.course.multihost.shared_training import BATCH, PROCESSES
from kit.judge.observation import Outcome, Raised, Returned, Stopped, returned


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


@dataclass(frozen=True)
class SettingsSeen:
    """A call of ``process_settings``."""

    process: int
    #: Addresses, number of processes, number of this one.
    expected: tuple[str, int, int]
    #: Values as plain data.
    outcome: Outcome[tuple[Any, ...]]

    def judge(self) -> None:
        """The settings are those of the environment."""
        if returned(self.outcome) != self.expected:
            cause = f"In process {self.process} of {PROCESSES}, `process_settings` returned the wrong settings."
            rows = [("addresses, processes, this process", repr(self.expected), repr(returned(self.outcome)))]
            raise Failed("MULTIHOST_WRONG_SETTINGS", cause, ("", "expected", "yours"), rows)


@dataclass(frozen=True)
class WholeSeen:
    """A call of ``whole_value`` in one of several processes."""

    process: int
    array: str
    shape: tuple[int, ...]
    #: Number and shape of the shards in this process.
    shards: tuple[int, tuple[int, ...]]
    #: The array's values, where every process knows them.
    expected: np.ndarray | None
    outcome: Outcome[np.ndarray]
    #: Whether this process has the whole array.
    local: bool = False

    def judge(self) -> None:
        """It is the whole of the array, as far as this process knows it."""
        number, shard = self.shards
        rows: list[tuple[str, str]] = [("array", self.array), ("shards in this process", f"{number} of shape {shard}")]
        if isinstance(self.outcome, Raised):
            rows.append(("error", f"{self.outcome.kind}: {' '.join(self.outcome.text.split())[:80]}"))
        else:
            found = returned(self.outcome)
            fits = found.shape == self.shape
            if fits and (self.expected is None or np.array_equal(found, self.expected)):
                return
            rows += [("shape of the whole", str(self.shape)), ("shape, yours", str(found.shape))]
            if fits:
                rows.append(("entries that are right", f"{np.mean(found == self.expected):.0%}"))
        where = "that is sharded over both processes."
        remedy = ""
        if self.local:
            where = "that this process has as a whole, while others run as well."
            remedy = "Let the array decide, by `value.is_fully_addressable`, and not the number of processes: what is "
            remedy += "all here needs no other process, and may have no mesh."
        raise Failed(
            "MULTIHOST_NOT_WHOLE",
            f"In process {self.process} of {PROCESSES}, `whole_value` does not return the whole of an array {where}",
            ("", "yours"),
            rows,
            remedy,
        )


@dataclass(frozen=True)
class RowsSeen:
    """A call of ``own_rows``."""

    process: int
    #: The process of each device of the mesh.
    process_of_device: list[list[int]]
    #: The rows that the devices of this process hold, according to JAX.
    expected: list[int]
    outcome: Outcome[list[int]]

    def judge(self) -> None:
        """The rows are those that the devices hold, in any order."""
        rows = returned(self.outcome)
        if sorted(rows) != self.expected:
            raise Failed(
                "MULTIHOST_WRONG_ROWS",
                f"Process {self.process} of {PROCESSES} feeds other rows than its devices hold.",
                ("", "expected", "yours"),
                [
                    ("processes of the devices", str(self.process_of_device), ""),
                    (f"rows of {BATCH}", str(self.expected), str(rows)),
                ],
            )


@dataclass(frozen=True)
class CountSeen:
    """A call of ``rows_of_whole_batch``."""

    process: int
    rows_fed: int
    #: The rows of the whole batch, according to JAX.
    expected: int
    #: Text if it is no number.
    outcome: Outcome[float | str]

    def judge(self) -> None:
        """JAX makes a batch of as many rows."""
        found = returned(self.outcome)
        if found != self.expected:
            raise Failed(
                "MULTIHOST_WRONG_COUNT",
                f"Process {self.process} feeds {self.rows_fed} rows. `rows_of_whole_batch` and JAX disagree about "
                "the rows of the whole batch.",
                ("JAX", "yours"),
                [(self.expected, found)],
            )


@dataclass(frozen=True)
class StepSeen:
    """A training step on the rows of ``own_rows``."""

    process: int
    loss: float

    def judge(self) -> None:
        """The losses of all steps are judged together, against the twin."""


@dataclass(frozen=True)
class SaveSeen:
    """A call of ``save_once``."""

    process: int
    outcome: Outcome[None]

    def judge(self) -> None:
        """It returned; the file is judged at the end."""
        returned(self.outcome)


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
    #: The arrays that it gathered or is gathering, in order.
    gathered: tuple[str, ...] = ()


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


def judge_end(training: TwoProcesses) -> None:
    """Both processes finished."""
    # First: after this, anything can happen, from a wrong value to an end of the process.
    _judge_order([report.gathered for report in training.reports])
    if death := training.death:
        raise Failed(
            "EXERCISE_ENDED_THE_PROCESS",
            f"Process {death.process} of {PROCESSES} ended with exit code {death.exit_code} "
            "before your functions returned.",
            ("while it ran", "printed last"),
            [(training.reports[death.process].doing, death.printed)],
        )
    for number, report in enumerate(training.reports):
        _judge_report(number, report)
    if training.waited is not None:
        cause = f"The processes wait for each other: neither made progress for {training.waited:g} s."
        rows = [(number, report.doing) for number, report in enumerate(training.reports)]
        raise Failed("MULTIHOST_PROCESSES_HANG", cause, ("process", "is running"), rows)


def _judge_order(gathered: Sequence[tuple[str, ...]]) -> None:
    """Up to where both are, they gather the same arrays in the same order."""
    for position, (first, second) in enumerate(zip(*gathered, strict=False)):
        if first != second:
            shown = slice(max(0, position - 1), position + 3)
            raise Failed(
                "MULTIHOST_COLLECTIVES_DIFFER",
                f"The processes gather arrays in different orders: as number {position + 1}, process 0 gathers "
                f"{first}, "
                f"and process 1 {second}.",
                ("gathered by process 0", "by process 1"),
                list(zip(gathered[0][shown], gathered[1][shown], strict=False)),
            )


def _judge_report(number: int, report: Report) -> None:
    if report.end == "stopped":
        for seen in report.seen:
            seen.judge()
        assert report.diagnosis, "a process stopped without a diagnosis"
        raise Failed.of(report.diagnosis)
    if report.end == "crashed":
        raise Failed(
            "EXERCISE_CRASHED",
            f"Process {number} of {PROCESSES} failed with what your functions returned: {report.error}.",
            ("while it ran",),
            [(report.doing,)],
            remedy="Look at what your functions return in two processes, and at the other diagnostics.",
        )


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
