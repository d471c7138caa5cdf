"""A class is graded: submissions, grades, frequent mistakes, and the file that keeps the grades."""

import json
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from exercise_folder import reference_source, source_of, write_exercises
from filelock import FileLock

from kit.course.catalogue import catalogue
from kit.course.grading import DEFAULT_LAYERS, ClassGrades, Grade, Learner, exercises_to_ask, find_learners, grade_class
from kit.course.lessons import REFERENCE_FOLDER
from kit.errors import UserError
from kit.report.class_report import render

EXERCISES = ("mesh", "reviews")
OWN_TEXT = "def make_device_mesh(batch, model, devices=None):\n    raise RuntimeError('<script>alert(1)</script>')\n"


def hand_in(folder: Path, **sources: str) -> None:
    """Write stubs, and these modules instead of theirs."""
    write_exercises(folder)
    for name, source in sources.items():
        (folder / f"{name}.py").write_text(source, encoding="utf-8")


@pytest.fixture(scope="module")
def class_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five learners who submit in different ways, and a folder that belongs to no learner."""
    folder = tmp_path_factory.mktemp("handed-in") / "group-1"
    swapped = source_of("mesh", "shape_swapped")
    hand_in(folder / "ada", mesh=reference_source("mesh"), reviews=reference_source("reviews"))
    hand_in(folder / "bob" / "exercises", mesh=swapped)
    hand_in(folder / "carl" / "my-clone" / "exercises", mesh=swapped)
    hand_in(folder / "dora", mesh=OWN_TEXT)
    (folder / "eve").mkdir()
    (folder / "eve" / "mesh.py").write_text("def make_device_mesh(:\n")
    (folder / "notes").mkdir()
    (folder / ".git").mkdir()
    return folder


def judged(
    class_folder: Path, file: Path, judge_all: bool = False, exercises: tuple[str, ...] = EXERCISES
) -> tuple[ClassGrades, list[tuple[str, str]]]:
    """The grades, and which of them were judged now."""
    now: list[tuple[str, str]] = []

    def report(learner: Learner, grade: Grade, unchanged: bool) -> None:
        if not unchanged and grade.state in ("right", "wrong"):
            now.append((learner.name, grade.exercise))

    return grade_class(find_learners(class_folder), exercises, DEFAULT_LAYERS, file, report, judge_all=judge_all), now


@pytest.fixture(scope="module")
def grades(class_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[ClassGrades, Path]:
    """The class, judged, and the file with its grades."""
    file = tmp_path_factory.mktemp("grades") / "grades.json"
    found, now = judged(class_folder, file)
    assert sorted(now) == sorted(
        [*((name, "mesh") for name in ("ada", "bob", "carl", "dora", "eve")), ("ada", "reviews")]
    )
    return found, file


def test_who_handed_something_in(class_folder: Path) -> None:
    learners = find_learners(class_folder)
    assert [
        (learner.name, learner.folder and str(learner.folder.relative_to(class_folder))) for learner in learners
    ] == [
        ("ada", "ada"),
        ("bob", "bob/exercises"),
        ("carl", "carl/my-clone/exercises"),
        ("dora", "dora"),
        ("eve", "eve"),
        ("notes", None),
    ]


def test_what_the_checks_say(grades: tuple[ClassGrades, Path]) -> None:
    found, _ = grades
    assert {learner: (each["mesh"].state, each["reviews"].state) for learner, each in found.grades.items()} == {
        "ada": ("right", "right"),
        "bob": ("wrong", "to do"),
        "carl": ("wrong", "to do"),
        "dora": ("wrong", "to do"),
        "eve": ("wrong", "missing"),
        "notes": ("nothing handed in", "nothing handed in"),
    }
    ada, bob, eve = (found.grades[name]["mesh"] for name in ("ada", "bob", "eve"))
    assert ada.passed == ada.checks == len(catalogue().checks_of("mesh")) >= 4
    assert 0 < bob.passed < bob.checks
    assert bob.codes == ["MESH_WRONG_SHAPE"]
    assert (eve.passed, eve.codes) == (0, ["EXERCISE_DOES_NOT_IMPORT"])


def test_mistakes_are_counted_by_learner(grades: tuple[ClassGrades, Path]) -> None:
    counts = grades[0].counts()
    assert [(count.code, count.learners) for count in counts] == [
        ("MESH_WRONG_SHAPE", ("bob", "carl")),
        ("EXERCISE_CRASHED", ("dora",)),
        ("EXERCISE_DOES_NOT_IMPORT", ("eve",)),
    ]
    assert counts[0].example.rows


def test_only_what_has_changed_is_judged_again(
    class_folder: Path, grades: tuple[ClassGrades, Path], tmp_path: Path
) -> None:
    copy, file = tmp_path / "group-1", tmp_path / "grades.json"
    shutil.copytree(class_folder, copy)
    shutil.copy(grades[1], file)
    found, now = judged(copy, file)
    assert now == []
    assert found == grades[0]
    # A file that a module may import or read counts too.
    (copy / "dora" / "sizes.json").write_text("8\n")
    shutil.copy(REFERENCE_FOLDER / "mesh.py", copy / "bob" / "exercises" / "mesh.py")
    found, now = judged(copy, file)
    assert sorted(now) == [("bob", "mesh"), ("dora", "mesh")]
    assert found.grades["bob"]["mesh"].state == "right"
    # A grade of another form is ignored.
    content = json.loads(file.read_text())
    content["grades"] |= {"eve": ["mesh"], "bob": {"mesh": {"mark": 1}}}
    content["grades"]["dora"]["mesh"]["findings"][0]["diagnosis"]["code"] = "=1+1"
    file.write_text(json.dumps(content))
    assert sorted(judged(copy, file)[1]) == [("bob", "mesh"), ("dora", "mesh"), ("eve", "mesh")]
    assert len(judged(copy, file, judge_all=True, exercises=("mesh",))[1]) == 5


@pytest.mark.parametrize(
    "content", ["{", "[" * 100_000, "[]", '{"format": 99, "grades": {}}', '{"format": 1, "grades": []}']
)
def test_grades_that_are_damaged(class_folder: Path, content: str, tmp_path: Path) -> None:
    file = tmp_path / "grades.json"
    file.write_text(content)
    with pytest.raises(UserError, match=r"is damaged or cannot be read .*: delete it, or judge everything with --anew"):
        judged(class_folder, file)
    assert file.read_text() == content


def test_two_graders_do_not_write_one_file(class_folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "grades.json"
    with (
        FileLock(tmp_path / ".grades.json.lock"),
        pytest.raises(UserError, match=r"another `kit grade` is writing .*grades\.json: wait until it ends"),
    ):
        judged(class_folder, file)
    assert not file.exists()


def test_what_is_asked() -> None:
    assert exercises_to_ask((), DEFAULT_LAYERS)[:3] == ("mesh", "layout", "loading")
    assert "run" not in exercises_to_ask((), DEFAULT_LAYERS)
    assert exercises_to_ask((), ("style",)) == ("run",)
    assert exercises_to_ask(("lora", "mesh"), ("spec", "params")) == ("mesh", "lora")
    with pytest.raises(UserError, match="There is no exercise 'meshes': did you mean mesh"):
        exercises_to_ask(("meshes",), DEFAULT_LAYERS)
    with pytest.raises(UserError, match="There is no layer 'quick': choose one of interface, spec"):
        exercises_to_ask((), ("quick",))
    with pytest.raises(UserError, match="No check of mesh is in style"):
        exercises_to_ask(("mesh",), ("style",))


def test_the_page(grades: tuple[ClassGrades, Path]) -> None:
    page = render("group <1>", grades[0], datetime(2026, 11, 27, 9, 30, tzinfo=UTC))
    assert "<h1>Class group &lt;1&gt;</h1>" in page
    assert "27 November 2026, 09:30 UTC</time> · 6 learners · 2 exercises" in page
    # Learners' text is escaped, and the page loads and runs nothing.
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "script-src" not in page
    assert "default-src 'none'" in page
    assert not re.search(r"(?:src|href)=\"(?!#|data:,)", page)
    assert re.search(r"MESH_WRONG_SHAPE</span> in mesh: 2 learners", page)
    assert "bob, carl" in page
    assert "<code>kit lesson mesh &#34;The grid&#34;</code>" in page
    # Each link has a target, and each learner with a finding is linked.
    targets = set(re.findall(r'id="([^"]+)"', page))
    links = re.findall(r'href="#([^"]+)"', page)
    assert set(links) <= targets
    assert len([link for link in links if link.startswith("learner-")]) == 4
    assert "2 of the 6 exercises that learners started pass all of their checks" in page
