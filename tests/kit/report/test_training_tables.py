"""What a report says of the compiled step, the memory, the twin and the held-out reviews."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from made_run import EVIDENCE, SCORES, made_result, made_run

from kit.report.held_out_curve import held_out_curve
from kit.report.run_report import write_report
from kit.run.result import Devices
from kit.run.training_evidence import HeldOutScore, MeasuredMemory, StepProgram, TrainingEvidence, TwinLosses


def text_of(folder: Path, **changes: object) -> str:
    """The page without its elements; a cell of a table ends with a bar."""
    page = write_report(made_run(folder, **changes)).read_text(encoding="utf-8")
    page = re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)
    return " ".join(re.sub("<[^>]*>", " ", re.sub("</t[hd]>", " |", page)).split())


def test_what_a_run_has_measured(tmp_path: Path) -> None:
    text = text_of(tmp_path / "run", training_evidence=EVIDENCE)
    assert "The first 2 steps were repeated on one device" in text
    assert "1 | 4.000000 | 4.000000 | 1.1e-16 | 2 | 3.980000 | 3.980002 | 5.0e-07 |" in text
    assert (
        "A difference below 1e-5 is rounding of float32: on 8 devices this run takes the same steps as on one." in text
    )
    assert "all-reduce | adds up partial results; each device gets the sum | 20 | 14.0 MB |" in text
    assert "all | | 22 | 14.0 MB |" in text
    assert "the model, the optimizer's state and a batch | 700 B |" in text
    assert "together | 798 B |" in text
    assert "5.0 kB when training began, and 12.0 kB at the peak of the training." in text
    assert "16 reviews that the run does not train on were scored 3 times." in text
    assert "40 | -3.9300 | +0.0400 |" in text


def test_losses_that_are_not_the_twins(tmp_path: Path) -> None:
    other = replace(EVIDENCE, twin=TwinLosses((4.0, 3.9), 2.5))
    text = text_of(tmp_path / "run", training_evidence=other)
    assert "2 | 3.980000 | 3.900000 | 2.1e-02 ⚠ too large |" in text
    assert "A difference above 1e-5 is not rounding: on several devices this run computes another loss" in text
    nowhere = text_of(tmp_path / "nan", training_evidence=replace(EVIDENCE, twin=TwinLosses((float("nan"), 3.98), 2.5)))
    assert "too large" in nowhere
    # A GPU rounds more, so nothing is said about the size of a difference.
    text = text_of(tmp_path / "gpu", training_evidence=other, devices=Devices("gpu", "H100", 8))
    assert "a GPU multiplies float32 in TF32" in text
    assert "too large" not in text


def test_what_was_not_measured(tmp_path: Path) -> None:
    text = text_of(tmp_path / "old")
    assert "no losses on one device to compare with. An older version of the kit made it." in text
    assert "Collectives This run did not record them." in text
    assert "only before and after" in text
    nothing = TrainingEvidence(program=StepProgram((), 700, 8, 90), without_twin="The run itself was on one device.")
    mesh, held = {"batch": 1, "model": 1}, {"cpu:0": 17600}
    text = text_of(tmp_path / "one", training_evidence=nothing, mesh=mesh, nbytes_per_device=held)
    assert "to compare with. The run itself was on one device." in text
    assert "There are none: the run was on one device." in text
    assert "The CPU reports no measurement" in text
    before = replace(EVIDENCE, memory=MeasuredMemory(before=5_000, peak_before=12_000, peak=12_000))
    assert "never more than 12.0 kB while training" in text_of(tmp_path / "before", training_evidence=before)


def test_the_curve_of_the_scores() -> None:
    curve = held_out_curve(tuple(reversed(SCORES)))
    assert curve is not None
    assert curve.scores == SCORES
    assert [tick.text for tick in curve.down] == ["−3.97", "−3.96", "−3.95", "−3.94", "−3.93"]
    # From the lower left to the upper right.
    assert curve.path == "M0.0 400.0h0L500.0 300.0L1000.0 0.0"
    assert held_out_curve(SCORES[:1]) is None
    assert held_out_curve((SCORES[0], HeldOutScore(20, float("nan")))) is None


@pytest.mark.parametrize("changes", [{}, {"training_evidence": EVIDENCE}])
def test_run_json_has_what_was_measured(tmp_path: Path, changes: dict[str, TrainingEvidence]) -> None:
    from kit.run.result import read_result

    folder = made_run(tmp_path / "run", **changes)
    assert read_result(folder) == made_result(folder, **changes)
