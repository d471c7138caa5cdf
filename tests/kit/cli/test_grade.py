"""`kit grade` prints, writes and keeps the grades of a class."""

import csv
import io
import re
from pathlib import Path

import pytest
from command_line import Kit, expect_one_sentence, without_progress
from exercise_folder import reference_source, source_of, write_exercises

from kit.checks.diagnosis import Diagnosis
from kit.cli import grade
from kit.course.catalogue import catalogue
from kit.course.grading import ClassGrades, Finding, Grade

#: A formula for a spreadsheet, and sequences that would set a terminal's clipboard and its title.
HOSTILE_NAME = "=2+3\x1b]52;c;aGk=\x07"
HOSTILE_MODULE = r"""
def make_device_mesh(batch, model, devices=None):
    print("\x1b]0;printed\x07\x1b[2J")
    raise RuntimeError("<script>\x1b]52;c;aGk=\x07\x9b2J\u202e\udcff")
"""


@pytest.fixture(scope="module")
def class_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two learners, and a folder that belongs to no learner."""
    folder = tmp_path_factory.mktemp("handed-in") / "group-1"
    write_exercises(folder / "ada")
    for name in ("mesh", "reviews"):
        (folder / "ada" / f"{name}.py").write_text(reference_source(name))
    write_exercises(folder / "bob" / "exercises", mesh="shape_swapped")
    (folder / "carl").mkdir()
    (folder / "carl" / "mesh.py").write_text(source_of("mesh", "shape_swapped"))
    (folder / "notes").mkdir()
    (folder / HOSTILE_NAME).mkdir()
    (folder / HOSTILE_NAME / "mesh.py").write_text(HOSTILE_MODULE)
    return folder


def test_the_command(class_folder: Path, tmp_path: Path, kit: Kit) -> None:
    kept = tmp_path / "kept.json"
    page, table = tmp_path / "class.html", tmp_path / "class.csv"
    options = ["--exercises", "mesh,reviews", "--grades", str(kept), "--report", str(page), "--csv", str(table)]
    status, out, err = kit("grade", str(class_folder), *options)
    assert status == 0
    assert without_progress(err) == ""
    assert re.search(r"^bob +3 of 4 +to do *$", out, re.M)
    assert re.search(r'^ +2 +mesh +MESH_WRONG_SHAPE +kit lesson mesh "The grid" *$', out, re.M)
    assert "Class group-1" in page.read_text()
    headings, *rows = csv.reader(table.read_text().splitlines())
    assert headings == ["learner", "exercise", "state", "passed", "checks", "codes"]
    assert len(rows) == 10
    assert rows[8] == ["notes", "mesh", "nothing handed in", "0", "4", ""]
    # Nothing of the hostile learner is a formula, a terminal's command or a part of the page.
    assert rows[0][0] == r"'=2+3\x1b]52;c;aGk=\x07"
    assert "EXERCISE_CRASHED" in rows[0][5]
    assert r"=2+3\x1b]52;c;aGk=\x07, mesh: 1 of 4, EXERCISE_CRASHED" in out
    texts = out + err + page.read_text() + table.read_text()
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", texts)
    assert "&lt;script&gt;" in page.read_text()
    assert "<script>" not in page.read_text()
    assert rows[4] == ["bob", "mesh", "wrong", "3", "4", "MESH_WRONG_SHAPE"]
    assert not (class_folder / "grades.json").exists()

    # Everything is graded, so this judges only what has no verdict.
    settings, pages = tmp_path / "own.toml", tmp_path / "pages"
    settings.write_text("[points]\nmesh = 4\n[roster.dora]\nname = 'Dora'\n")
    options = ["--exercises", "mesh", "--grades", str(kept), "--grading", str(settings), "--pages", str(pages)]
    status, out, _ = kit("grade", str(class_folder), *options, "--fail-under", "60")
    assert status == 1
    assert re.search(r"^bob: 3 of 4 points\n", out, re.M)
    assert out.endswith(r"below 60 %: =2+3\x1b]52;c;aGk=\x07 (25 %), dora (0 %), notes (0 %)" + "\n")
    assert (pages / "dora.md").read_text().startswith("# Dora\n\n0 of 4 points.\n")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "Missing argument 'CLASS'"),
        (["nowhere"], "nowhere: there is no such folder. Name a folder with one folder for each learner"),
        (["."], "no folder in it has exercises such as mesh.py"),
        (["CLASS", "--exercises", "meshes"], "There is no exercise 'meshes'"),
        (["CLASS", "--layers", "quick"], "There is no layer 'quick'"),
        (["CLASS", "--report", "nowhere/page.html"], "--report nowhere/page.html: cannot be written"),
        (["CLASS", "--csv", "."], "--csv .: cannot be written"),
        (["CLASS", "--grades", "nowhere/grades.json"], "--grades nowhere/grades.json: cannot be written"),
        (["CLASS", "--grading", "nowhere.toml"], "nowhere.toml cannot be read"),
        (["CLASS", "--pages", "nowhere/pages"], "--pages nowhere/pages: cannot be written; name a folder"),
        (["CLASS", "--fail-under", "101"], "Invalid value for '--fail-under'"),
        (["CLASS", "--at-once", "0"], "Invalid value for '--at-once'"),
    ],
)
def test_a_mistake_is_one_sentence(
    arguments: list[str], sentence: str, class_folder: Path, tmp_path: Path, kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = kit("grade", *[str(class_folder) if argument == "CLASS" else argument for argument in arguments])
    assert (status, out) == (2, "")
    expect_one_sentence(err, sentence)
    assert not list(tmp_path.iterdir())


def made_class() -> ClassGrades:
    """Two learners and all exercises, one of which both got wrong."""
    diagnosis = Diagnosis("LIKELIHOOD_WRONG", "A cause.", anchor="generation#How probable is a text?")
    right = {name: Grade(name, "right", 4) for name in catalogue().names}
    wrong = Grade("generation", "wrong", 4, (Finding("likelihood", "It must be right.", diagnosis),))
    return ClassGrades(
        catalogue().names,
        {"ada": {**right, "generation": wrong}, "bob": {**right, "generation": wrong}},
        {name: list(catalogue().checks_of(name)) for name in catalogue().names},
    )


def test_tables_fit_the_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    lesson = 'kit lesson generation "How probable is a text?"'
    grade._show(made_class())
    whole = capsys.readouterr().out.splitlines()
    assert len([line for line in whole if line.startswith("ada")]) == 1
    assert [line.split() for line in whole if lesson in line] == [
        ["2", "generation", "LIKELIHOOD_WRONG", *lesson.split()]
    ]

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for width in (80, 50):
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setattr("sys.stdout", shown := Terminal())
        grade._show(made_class())
        lines = shown.getvalue().splitlines()
        assert max(map(len, lines)) <= max(width, len(lesson) + 4)
        # Each block names the learners again, and each exercise is in one.
        blocks = [line.split()[1:] for line in lines if line.startswith("learner ")]
        assert len(blocks) > 1
        assert [name for block in blocks for name in block] == list(catalogue().names)
        assert len([line for line in lines if line.startswith("ada")]) == len(blocks)
        # The command that is to be copied is whole.
        assert any(line.endswith(lesson) for line in lines)
