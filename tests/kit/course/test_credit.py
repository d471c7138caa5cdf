"""Points: weights, partial credit, due dates and the roster of a grading.toml."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from kit.checks.diagnosis import Failed
from kit.course.catalogue import catalogue
from kit.course.credit import Grading, below, credit_of, find_grading, read_grading, with_roster
from kit.course.grading import Finding, Grade, Learner
from kit.errors import UserError

CHECKS = catalogue().checks_of("mesh")
SETTINGS = """
penalty_per_day = 0.25
late_days = 2
due = 2026-11-27T12:00:00Z
[points]
mesh = 10
[weights.mesh]
interface = 0
shape = 2
[roster.ada]
name = "Ada"
handed_in = 2026-11-27T11:59:00Z
[roster.zoe]
name = "Zoe"
"""


def read(folder: Path, text: str) -> Grading:
    (folder / "grading.toml").write_text(text, encoding="utf-8")
    return find_grading(None, folder)


def grade(*failed: str, code: str = "MESH_WRONG_SHAPE") -> Grade:
    """The grade of a solution that fails these checks."""
    diagnosis = Failed(code, "It is wrong.").diagnosis
    findings = tuple(Finding(name, "It must be right.", diagnosis) for name in failed)
    state = "not judged" if diagnosis.is_no_verdict else "wrong" if failed else "right"
    return Grade("mesh", state, len(CHECKS), findings)


def test_weights_and_partial_credit(tmp_path: Path) -> None:
    ada, settings = Learner("ada", tmp_path), read(tmp_path, SETTINGS)
    assert [check.name for check in CHECKS] == ["interface_of_make_device_mesh", "refuses", "shape", "devices"]
    points = {
        names: credit_of(ada, grade(*names), CHECKS, settings).points
        for names in ((), ("interface_of_make_device_mesh",), ("shape",), ("refuses", "devices"))
    }
    assert list(points.values()) == [10.0, 10.0, 5.0, 5.0]
    whole = read(tmp_path, "partial = false\n" + SETTINGS)
    assert credit_of(ada, grade("shape"), CHECKS, whole).points == 0
    assert credit_of(ada, grade(), CHECKS, whole).points == 10
    assert credit_of(ada, grade("shape"), CHECKS, Grading()).points == 0.75


@pytest.mark.parametrize(("hours", "days", "points"), [(0, 0, 10.0), (1, 1, 7.5), (25, 2, 5.0), (49, 3, 0.0)])
def test_lateness(tmp_path: Path, hours: int, days: int, points: float) -> None:
    moment = datetime(2026, 11, 27 + (12 + hours) // 24, (12 + hours) % 24, tzinfo=UTC).isoformat()
    settings = read(tmp_path, SETTINGS.replace("2026-11-27T11:59:00Z", moment))
    credit = credit_of(Learner("ada", tmp_path), grade(), CHECKS, settings)
    assert (credit.days_late, credit.points) == (days, points)


def test_without_a_verdict_there_are_no_points_to_give(tmp_path: Path) -> None:
    settings = read(tmp_path, SETTINGS)
    credit = credit_of(Learner("ada", tmp_path), grade("shape", code="COULD_NOT_BE_JUDGED"), CHECKS, settings)
    assert credit.points is None
    right = credit_of(Learner("ada", tmp_path), grade(), CHECKS, settings)
    half = credit_of(Learner("ada", tmp_path), grade("shape"), CHECKS, settings)
    assert below({"ada": {"mesh": right}, "bob": {"mesh": credit}, "zoe": {"mesh": half}}, 80) == {
        "bob": None,
        "zoe": 50,
    }


def test_who_is_in_the_roster_has_a_row(tmp_path: Path) -> None:
    learners = with_roster([Learner("bob", tmp_path), Learner("ada", tmp_path)], read(tmp_path, SETTINGS))
    assert [(learner.name, learner.folder is None) for learner in learners] == [
        ("ada", False),
        ("bob", False),
        ("zoe", True),
    ]


def test_without_a_file_each_exercise_has_one_point(tmp_path: Path) -> None:
    assert find_grading(None, tmp_path) == Grading()
    with pytest.raises(UserError, match="cannot be read"):
        find_grading(tmp_path / "nowhere.toml", tmp_path)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("points", "cannot be read"),
        ("point = 1", "There is no setting 'point': did you mean points"),
        ("points = 3", "a table is expected, with one line for each exercise"),
        ("[points]\nmeshes = 1", "There is no exercise 'meshes': did you mean mesh"),
        ("[points]\nmesh = -1", "mesh is -1, and must be a number that is not negative"),
        ("[points]\nmesh = true", "mesh is True, and must be a number"),
        ("penalty_per_day = 10", "penalty_per_day is 10, and must be a share from 0 to 1"),
        ("[weights.mesh]\nshapes = 1", "There is no layer or check of mesh 'shapes': did you mean shape"),
        ("due = 'tomorrow'", "is 'tomorrow', and must be a date, such as 2026-12-01"),
        ("partial = 1", "partial is 1, and must be true or false"),
        ("[roster.ada]\nage = 36", "There is no entry of a member 'age'"),
        ("roster = 3", "a table is expected"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        read(tmp_path, text)
    assert sentence in str(caught.value)
    assert str(tmp_path / "grading.toml") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_date_is_its_end(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text("[due]\nmesh = 2026-12-01\n")
    due = read_grading(file).due
    assert set(due) == {"mesh"}
    assert (due["mesh"].hour, due["mesh"].minute, due["mesh"].day) == (23, 59, 1)
