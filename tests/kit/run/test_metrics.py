"""Reading ``metrics.jsonl``."""

from pathlib import Path

import pytest

from kit.errors import UserError
from kit.run.metrics import METRICS_FILE, StepRecord, read_metrics


def test_of_a_step_that_occurs_twice_the_later_line_counts(run: Path) -> None:
    lines = (run / METRICS_FILE).read_text()
    again = '{"step": 40, "loss": 9.5, "mean_loss": 4.0, "mean_accuracy": null, "seconds": 7}\n'
    (run / METRICS_FILE).write_text(lines + again)
    steps = read_metrics(run / METRICS_FILE)
    assert [step.step for step in steps] == list(range(1, 41))
    assert steps[-1] == StepRecord(40, 9.5, 4.0, None, 7)


def test_the_last_line_of_an_interrupted_run_may_be_cut_off(run: Path) -> None:
    with (run / METRICS_FILE).open("a") as lines:
        lines.write('{"step": 41, "lo')
    assert len(read_metrics(run / METRICS_FILE, finished=False)) == 40
    with pytest.raises(UserError, match=r"metrics\.jsonl: it is damaged \(line 41 is not JSON\)"):
        read_metrics(run / METRICS_FILE)
    assert read_metrics(run / "nowhere", finished=False) == ()
