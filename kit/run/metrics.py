"""The metrics of each training step, a line of ``metrics.jsonl``. Imports no framework."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kit.run.json_records import as_json, faults_in_one_sentence, from_json
from kit.run.training_evidence import HeldOutScore, TwinLosses

METRICS_FILE = "metrics.jsonl"


@dataclass(frozen=True)
class StepRecord:
    """One training step."""

    step: int
    #: Loss of this step's batch.
    loss: float
    #: Mean since the epoch began, as the progress bar shows it and the tutorial prints it.
    mean_loss: float
    mean_accuracy: float | None
    #: Seconds of training up to the end of this step, compilation included, in all sessions of the
    #: run.
    seconds: float

    @property
    def line(self) -> str:
        """The step as a line of ``metrics.jsonl``."""
        return json.dumps(as_json(self)) + "\n"


@dataclass(frozen=True)
class Progress:
    """What a run resumes from, besides the trained variables."""

    #: All steps so far.
    records: tuple[StepRecord, ...]
    #: Steps after which the run was resumed.
    resumed: tuple[int, ...]
    #: Seconds of all sessions of the run so far.
    seconds: float
    #: Values of the model's metrics, and of its random generators.
    metrics: tuple[Any, ...]
    seed_states: tuple[Any, ...]
    #: What the run has measured of its training so far.
    held_out: tuple[HeldOutScore, ...] = ()
    twin: TwinLosses | None = None


NO_PROGRESS = Progress((), (), 0.0, (), ())


def read_metrics(file: Path, finished: bool = True) -> tuple[StepRecord, ...]:
    """Read the steps of ``metrics.jsonl``; of a step that occurs twice, the later line counts.

    The file of an unfinished run may be missing or empty, and its last line may be cut off. Raises
    UserError if the file is missing or damaged otherwise.
    """
    if not finished and not file.is_file():
        return ()
    steps: dict[int, StepRecord] = {}
    with faults_in_one_sentence(file):
        lines = file.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines, 1):
            try:
                record = from_json(StepRecord, json.loads(line))
            except json.JSONDecodeError:
                if not finished and number == len(lines):
                    break
                raise ValueError(f"line {number} is not JSON") from None
            steps[record.step] = record
        if finished and not steps:
            raise ValueError("it has no steps")
    return tuple(steps[number] for number in sorted(steps))
