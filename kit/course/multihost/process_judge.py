"""How observations of a training process are judged.

The process judges them too: it stops after an observation that fails, because its next collective
would wait for the other process, or the other for it. The verdict is that of the check.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from kit.checks.diagnosis import Failed
from kit.course.multihost.process_report import (
    CountSeen,
    Report,
    RowsSeen,
    SaveSeen,
    Seen,
    SettingsSeen,
    StepSeen,
    TwoProcesses,
    WholeSeen,
)
from kit.course.multihost.shared_training import BATCH, PROCESSES
from kit.judge.observation import Raised, returned


def judge_end(training: TwoProcesses) -> None:
    """Both processes finished."""
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
        raise Failed(
            "MULTIHOST_PROCESSES_HANG",
            f"The processes wait for each other: neither made progress for {training.waited:g} s.",
            ("process", "is running"),
            [(number, report.doing) for number, report in enumerate(training.reports)],
        )


def _judge_report(number: int, report: Report) -> None:
    if report.end == "stopped":
        for seen in report.seen:
            judge_seen(seen)
        assert report.diagnosis, "a process stopped without a diagnosis"
        raise Failed.of(report.diagnosis)
    if report.end == "crashed":
        raise Failed(
            "EXERCISE_CRASHED",
            f"Process {number} of {PROCESSES} failed with what your functions returned: {report.error}.",
            ("while it ran",),
            [(report.doing,)],
            advice="Look at what your functions return in two processes, and at the other diagnostics.",
        )


def judge_seen(seen: Seen) -> None:
    """Compare an observation with what JAX or the environment says."""
    _JUDGES[type(seen)](seen)


def _judge_settings(seen: SettingsSeen) -> None:
    if returned(seen.outcome) != seen.expected:
        raise Failed(
            "MULTIHOST_WRONG_SETTINGS",
            f"In process {seen.process} of {PROCESSES}, `process_settings` returned the wrong settings.",
            ("", "expected", "yours"),
            [("addresses, processes, this process", repr(seen.expected), repr(returned(seen.outcome)))],
        )


def _judge_whole(seen: WholeSeen) -> None:
    number, shard = seen.shards
    rows: list[tuple[str, str]] = [("array", seen.array), ("shards in this process", f"{number} of shape {shard}")]
    if isinstance(seen.outcome, Raised):
        rows.append(("error", " ".join(seen.outcome.text.split())[:80]))
    else:
        found = returned(seen.outcome)
        fits = found.shape == seen.shape
        if fits and (seen.expected is None or np.array_equal(found, seen.expected)):
            return
        rows += [("shape of the whole", str(seen.shape)), ("shape, yours", str(found.shape))]
        if fits:
            rows.append(("entries that are right", f"{np.mean(found == seen.expected):.0%}"))
    raise Failed(
        "MULTIHOST_NOT_WHOLE",
        f"In process {seen.process} of {PROCESSES}, `whole_value` does not return the whole of an array "
        "that is sharded over both processes.",
        ("", "yours"),
        rows,
    )


def _judge_rows(seen: RowsSeen) -> None:
    rows = returned(seen.outcome)
    if sorted(rows) != seen.expected:
        raise Failed(
            "MULTIHOST_WRONG_ROWS",
            f"Process {seen.process} of {PROCESSES} feeds other rows than its devices hold.",
            ("", "expected", "yours"),
            [(f"rows of {BATCH}", str(seen.expected), str(rows))],
        )


def _judge_count(seen: CountSeen) -> None:
    found = returned(seen.outcome)
    if found != seen.expected:
        raise Failed(
            "MULTIHOST_WRONG_COUNT",
            f"Process {seen.process} feeds {seen.rows_fed} rows. `rows_of_whole_batch` and JAX disagree about "
            "the rows of the whole batch.",
            ("JAX", "yours"),
            [(seen.expected, found)],
        )


def _judge_step(seen: StepSeen) -> None:
    """The losses of all steps are judged together, against the twin."""


def _judge_save(seen: SaveSeen) -> None:
    returned(seen.outcome)


_JUDGES: dict[type, Callable[[Any], None]] = {
    SettingsSeen: _judge_settings,
    WholeSeen: _judge_whole,
    RowsSeen: _judge_rows,
    CountSeen: _judge_count,
    StepSeen: _judge_step,
    SaveSeen: _judge_save,
}
