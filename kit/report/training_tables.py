"""What a run measured of its training, as a report shows it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kit.report.held_out_curve import held_out_curve
from kit.run.metrics import StepRecord
from kit.run.result import RunResult
from kit.run.training_evidence import TrainingEvidence

#: What rounding in float32 changes of a loss at most, relative to it, on a CPU. The largest
#: difference of right solutions is 6.1e-7 (benchmarks/training_seeds.py).
ROUNDING = 1e-5
#: What each collective does.
COLLECTIVE_WORDS = {
    "all-reduce": "adds up partial results; each device gets the sum",
    "all-gather": "each device gets the slices of all devices",
    "reduce-scatter": "adds up partial results; each device gets a slice of the sum",
    "all-to-all": "each device sends another slice to each device",
    "collective-permute": "each device sends its value to another one",
}


def training_evidence(result: RunResult, steps: Sequence[StepRecord]) -> dict[str, Any]:
    """What ``twin_table.html``, ``collectives_table.html`` and ``held_out_chart.html`` show."""
    evidence = result.training_evidence or TrainingEvidence(without_twin="An older version of the kit made it.")
    return {
        "program": evidence.program,
        "memory": evidence.memory,
        "twin": _twin_table(evidence, result, steps),
        "without_twin": evidence.without_twin,
        "held_out": held_out_curve(evidence.held_out),
        "held_out_texts": evidence.held_out_texts,
        "collective_words": COLLECTIVE_WORDS,
    }


@dataclass(frozen=True)
class TwinRow:
    """A step of the run and of the unsharded twin."""

    step: int
    loss: float
    twin: float
    #: Relative.
    difference: float
    stands_out: bool


@dataclass(frozen=True)
class TwinTable:
    """The first losses of a run beside those of its unsharded twin."""

    rows: tuple[TwinRow, ...]
    #: The largest difference that rounding explains; None if the platform or the dtype may round
    #: more.
    rounding: float | None
    #: That the twin took.
    seconds: float


def _twin_table(evidence: TrainingEvidence, result: RunResult, steps: Sequence[StepRecord]) -> TwinTable | None:
    twin = evidence.twin
    if twin is None:
        return None
    is_exact = result.devices.platform == "cpu" and result.settings.dtype == "float32"
    rounding = ROUNDING if is_exact else None
    rows = []
    for record, loss in zip(steps, twin.losses, strict=False):
        difference = abs(record.loss - loss) / (abs(loss) or 1.0)
        # A comparison with NaN is false.
        stands_out = rounding is not None and not difference <= rounding
        rows.append(TwinRow(record.step, record.loss, loss, difference, stands_out))
    return TwinTable(tuple(rows), rounding, twin.seconds)
