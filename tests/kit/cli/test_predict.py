"""`kit predict`, in a pipe and with answers as options."""

import subprocess
from pathlib import Path

import pytest
from command_line import KIT, kit


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "exercises").mkdir()
    return tmp_path


def test_a_pipe(folder: Path) -> None:
    finished = subprocess.run(
        [*KIT, "predict", "mesh"], input="3\n2\n", capture_output=True, text=True, cwd=folder, check=True
    )
    assert "Your answer: 3\nMeasured: 2. You predicted 3.\nYou counted from 1." in finished.stdout
    assert "Measured: 2. As you predicted." in finished.stdout
    assert "1 of 3 questions have no answer yet: `kit predict mesh` asks them." in finished.stdout
    # Only the last one is asked then, and afterwards none.
    finished = kit("predict", "mesh", "--answer", "4", cwd=folder)
    assert "mesh, question 1 of 1" in finished.stdout
    assert "1 of 1 as measured." in finished.stdout
    assert "You have answered all questions of mesh" in kit("predict", "mesh", cwd=folder).stdout
    listed = [line.split() for line in kit("predict", cwd=folder).stdout.splitlines()]
    assert ["mesh", "column", "3", "2", "differs"] in listed
    assert ["mesh", "same", "slice", "2", "2"] in listed
    board = kit(cwd=folder).stdout
    assert "checks predicted" in board
    assert any(line.split()[:2] == ["1", "mesh"] and line.split()[-7] == "2/3" for line in board.splitlines()), board


def test_nothing_is_predicted_yet(folder: Path) -> None:
    assert "`kit predict mesh`" in kit("predict", cwd=folder).stdout
    assert "predicted" not in kit(cwd=folder).stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["mesh", "--answer", "three"], "'three' is no answer to column: give a number, such as 42."),
        (["mesh", *["--answer", "1"] * 4], "--answer: mesh has 3 questions to answer, and 4 answers were given."),
        (["--answer", "1"], "--answer: name the exercise whose questions you answer, such as `kit predict mesh`."),
        (["planning"], "`kit lesson planning Predict` has one to answer on paper."),
        (["mash"], "did you mean mesh"),
        (["mesh", "--folder", "nowhere"], "--folder nowhere: there is no such folder here."),
    ],
)
def test_wrong_options(folder: Path, arguments: list[str], sentence: str) -> None:
    finished = kit("predict", *arguments, cwd=folder)
    assert finished.returncode == 2
    assert sentence in finished.stderr
    assert not (folder / ".kit").exists()
