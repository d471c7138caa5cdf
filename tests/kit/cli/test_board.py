"""`kit` without a command: the board, quick, without a framework, and as wide as the terminal."""

import shutil
from pathlib import Path

import pytest
from command_line import Kit, expect_one_sentence, kit, run_python
from exercise_folder import ROOT, source_of

from kit.checks.diagnosis import Failed
from kit.cli.board import board_lines
from kit.course.board import CheckRun, read_board
from kit.course.catalogue import catalogue
from kit.course.workspace import Workspace
from kit.judge.runner import Verdict

CAUSE = "The labels of all reviews are in the batches, each beside its text, and nothing else is wrong with them."


@pytest.fixture
def failing(exercises: Path) -> Path:
    """Exercises, of which reviews has failed."""
    (exercises / "reviews.py").write_text(source_of("reviews", "labels_kept"))
    run = CheckRun("exercises", ["reviews"])
    run.add(Verdict(catalogue().find_check("reviews", "order"), Failed("REVIEWS_LABELS_KEPT", CAUSE).diagnosis))
    run.close()
    return exercises


def test_the_board(failing: Path, kit: Kit) -> None:
    code, output, message = kit()
    assert (code, message) == (0, "")
    lines = output.splitlines()
    assert lines[0] == "0 of 12 exercises passed, 0 checks"
    assert [line.split()[1] for line in lines[3:11]] == list(catalogue().names[:8])
    assert lines[6] == f" 4  reviews      10  failing        0/5    REVIEWS_LABELS_KEPT: {CAUSE}"
    assert lines[-2:] == ["reviews fails: REVIEWS_LABELS_KEPT.", "Next: kit check reviews"]
    assert "\x1b" not in output


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_it_fits_the_terminal(failing: Path, width: int) -> None:
    board = read_board(Workspace(failing))
    lines = board_lines(board, width, colour=False)
    assert max(map(len, lines)) <= max(width, 63)
    line = lines[6]
    assert line.startswith(" 4  reviews ")
    assert line.endswith("…") == (width < 200)
    coloured = board_lines(board, width, colour=True)
    assert [line.replace("\x1b[31m", "").replace("\x1b[0m", "") for line in coloured] == lines


def test_no_framework_is_imported(failing: Path) -> None:
    code = (
        "import sys; sys.argv = ['kit']\nfrom kit.cli.main import cli\ncli([], standalone_mode=False)\n"
        "print(sorted(set(sys.modules) & {'jax', 'keras', 'numpy', 'rich', 'filelock', 'tensorflow'}))"
    )
    assert run_python(code, cwd=failing.parent).stdout.splitlines()[-1] == "[]"


def test_a_damaged_file_is_one_sentence(failing: Path, kit: Kit) -> None:
    (failing.parent / ".kit" / "results.json").write_text("{")
    code, output, _ = kit()
    assert code == 0
    assert ".kit/results.json is damaged: the next check moves it aside" in output.splitlines()[-1]


def test_another_folder(failing: Path, kit: Kit) -> None:
    failing.rename(failing.parent / "mine")
    code, output, _ = kit("--folder", "mine")
    assert code == 0
    assert output.splitlines()[-1] == "Next: kit check reviews --impl=mine"
    code, output, message = kit("--folder", "nowhere")
    assert (code, output) == (2, "")
    expect_one_sentence(message, "--folder nowhere: there is no such folder here")
    code, output, message = kit("--folder", "mine", "lesson")
    assert (code, output) == (2, "")
    expect_one_sentence(message, "--folder is for `kit` without a command")


def test_without_exercises(tmp_path: Path) -> None:
    """As after the installation of a wheel: a copy of the kit with nothing beside it."""
    shutil.copytree(ROOT / "kit", tmp_path / "kit", ignore=shutil.ignore_patterns("__pycache__", "models"))
    finished = kit(cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout.startswith("There is no folder exercises/ here")
    assert "`kit run`" in finished.stdout


def test_a_command_that_does_not_exist(tmp_path: Path) -> None:
    for name, sentence in (
        ("chekc", "kit: There is no command 'chekc': did you mean `kit check`?"),
        ("mesh", "kit: There is no command 'mesh': did you mean `kit lesson mesh` or `kit check mesh`?"),
        ("zzzz", "kit: There is no command 'zzzz': `kit --help` lists all."),
    ):
        finished = kit(name, cwd=tmp_path)
        assert (finished.returncode, finished.stderr) == (2, f"{sentence}\n")
