"""Predictions beside the results."""

import json
from pathlib import Path

from kit.course.board import read_board
from kit.course.prediction_record import keep, rows
from kit.course.predictions import questions
from kit.course.results import ResultsFile
from kit.course.workspace import Workspace


def test_kept_and_read(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "exercises")
    column, same_slice, _ = questions("mesh")
    assert keep(workspace, "mesh", same_slice, 2.0, 2.0) == keep(workspace, "mesh", column, 1.0, 2.0) == ""
    assert keep(workspace, "mesh", column, 3.0, 2.0) == ""
    known, problem = ResultsFile(workspace).read_predictions()
    assert not problem
    first, second = rows(known)
    assert (first.name, first.predicted, first.measured, first.right) == ("same slice", "2", "2", True)
    assert (second.name, second.predicted, second.right) == ("column", "3", False)
    assert second.explains.startswith("You counted from 1.")
    # Results of the checks are in the same file, and unchanged.
    assert ResultsFile(workspace).read() == ({}, "")
    assert read_board(workspace).row("mesh").predicted == (1, 2)
    assert read_board(workspace).row("lora").predicted == (0, 0)
    # Another folder beside it has predictions of its own.
    assert ResultsFile(Workspace(tmp_path / "mine")).read_predictions() == ({}, "")


def test_damaged(tmp_path: Path) -> None:
    workspace, (column, *_) = Workspace(tmp_path / "exercises"), questions("mesh")
    keep(workspace, "mesh", column, 1.0, 2.0)
    file = ResultsFile(workspace).file
    content = json.loads(file.read_text())
    content["predictions"]["exercises"]["mesh"]["column"]["right"] = "perhaps"
    file.write_text(json.dumps(content))
    found, problem = ResultsFile(workspace).read_predictions()
    assert found == {}
    assert "is damaged" in problem
    assert "is now" in keep(workspace, "mesh", column, 1.0, 2.0)
    assert ResultsFile(workspace).read_predictions()[0]["mesh"]["column"].answer == 1.0


def test_it_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / ".kit").write_text("a file")
    sentence = keep(Workspace(tmp_path / "exercises"), "mesh", questions("mesh")[0], 1.0, 2.0)
    assert sentence.startswith("The prediction was not kept: ")
