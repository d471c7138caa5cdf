"""The report of a learner."""

import os
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from made_run import made_run

from kit.course.catalogue import catalogue
from kit.course.prediction_record import keep
from kit.course.predictions import questions
from kit.course.results import Result, ResultsFile, module_hash
from kit.course.workspace import Workspace, stub
from kit.report.course_report import newest_run, render, write_course_report

WHEN = datetime(2026, 11, 28, 3, 30, tzinfo=UTC)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    (tmp_path / "exercises").mkdir()
    for name in catalogue().names:
        (tmp_path / "exercises" / f"{name}.py").write_text(stub(name))
    monkeypatch.chdir(tmp_path)
    return Workspace(tmp_path / "exercises")


def text_of(page: str) -> str:
    return " ".join(re.sub(r"<style>.*?</style>|<[^>]*>", " ", page, flags=re.DOTALL).split())


def test_what_is_missing_names_its_command(workspace: Workspace) -> None:
    text = text_of(render(workspace, "exercises", None, WHEN))
    assert "0 of 12 exercises passed, 0 checks." in text
    assert "There is no finished run of these exercises here: kit run --impl exercises makes one." in text
    assert "not checked: kit check training --layer train" in text
    assert "not checked: kit check layout --layer program" in text
    assert "Not answered yet: kit predict mesh , kit predict layout" in text
    assert "kit predict planning" not in text


def test_what_is_there(workspace: Workspace, tmp_path: Path) -> None:
    column, same_slice, _ = questions("mesh")
    keep(workspace, "mesh", column, 3.0, 2.0)
    keep(workspace, "mesh", same_slice, 2.0, 2.0)
    twins = [check for check in catalogue().checks_of("training") if check.layer == "train"]
    module = module_hash(workspace.folder, "training")
    failed = Result("failed", "TRAINING_DIFFERS", "Step 3 has another <loss>.", 1.0, WHEN.isoformat(), module, "0.1.0")
    old = Result("passed", "", "", 1.0, WHEN.isoformat(), "another version", "0.1.0")
    ResultsFile(workspace).write({"training": {twins[0].name: failed, twins[1].name: old}})
    (tmp_path / "runs").mkdir()
    made_run(tmp_path / "runs" / "mine", implementation="exercises")
    run = newest_run(Path("runs"), "exercises")
    assert run is not None
    page = render(workspace, "exercises", run, WHEN)
    text = text_of(page)
    assert "1 of 2 predictions as measured on this machine." in text
    assert "mesh: column 3 2 ⚠ differs" in text
    assert "You counted from 1." in text
    assert "failed Step 3 has another &lt;loss&gt;." in text
    # A result of another version of the module is none.
    assert text.count("not checked: kit check training") == len(twins) - 1
    assert f"From the run in {os.path.join('runs', 'mine')} : batch 2 × model 4, 8 devices." in text
    assert page.count('<div class="card">') == 7
    assert "Loss of each step" in text
    assert "before 1. One after I liked it." in text
    file = write_course_report(workspace, "exercises", run, WHEN)
    assert file == tmp_path / "course_report.html"
    assert file.read_text() == page


def test_the_newest_run_of_these_parts(workspace: Workspace, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    assert newest_run(runs, "exercises") is None
    runs.mkdir()
    for age, (name, changes) in enumerate(
        [("other", {}), ("control", {"control": True}), ("new", {}), ("old", {})], start=1
    ):
        implementation = "reference" if name == "other" else "exercises"
        folder = made_run(runs / name, implementation=implementation, **changes)
        os.utime(folder / "run.json", (1e9 - age, 1e9 - age))
    (runs / "damaged").mkdir()
    (runs / "damaged" / "run.json").write_text("{")
    found = newest_run(runs, "exercises")
    assert found is not None
    assert found.folder.name == "new"
