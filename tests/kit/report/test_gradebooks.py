"""Files for gradebooks, for what reads JUnit's XML, and a page per learner."""

import csv
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest

from kit.checks.diagnosis import Failed
from kit.course.catalogue import catalogue
from kit.course.credit import Credit, Grading, Member
from kit.course.grading import ClassGrades, Finding, Grade
from kit.errors import UserError
from kit.report.class_files import ClassFiles

CHECKS = list(catalogue().checks_of("mesh"))
GRADING = Grading(
    points={"mesh": 10}, roster={"ada": Member("ada", "Ada Lovelace", "1815", "ada@example.org"), "=x": Member("=x")}
)


def failing(code: str, state: str) -> Grade:
    diagnosis = Failed(code, "<b>shape</b> & size", ("found",), [("# (1, 8)",)]).diagnosis
    return Grade("mesh", state, 4, (Finding("shape", "It must be right.", diagnosis),))  # type: ignore[arg-type]


GRADES = ClassGrades(
    ("mesh",),
    {
        "ada": {"mesh": Grade("mesh", "right", 4)},
        "bob/#1": {"mesh": failing("MESH_WRONG_SHAPE", "wrong")},
        "bob_#1": {"mesh": Grade("mesh", "nothing handed in", 4)},
        "=x": {"mesh": failing("COULD_NOT_BE_JUDGED", "not judged")},
    },
    {"mesh": CHECKS},
)
CREDITS = {
    "ada": {"mesh": Credit(9.0, 10.0, 1)},
    "bob/#1": {"mesh": Credit(7.5, 10.0)},
    "bob_#1": {"mesh": Credit(0.0, 10.0)},
    "=x": {"mesh": Credit(None, 10.0)},
}


@pytest.fixture
def files(tmp_path: Path) -> ClassFiles:
    """All files, written."""
    names = ("class.html", "class.csv", "canvas.csv", "moodle.csv", "junit.xml", "mistakes.md", "pages")
    files = ClassFiles(*(tmp_path / name for name in names))
    files.expect_writable()
    assert len(files.write("one", GRADES, CREDITS, GRADING, datetime(2026, 11, 27, tzinfo=UTC))) == len(names)
    return files


def rows(file: Path | None) -> list[list[str]]:
    assert file is not None
    return list(csv.reader(file.read_text(encoding="utf-8").splitlines()))


def test_canvas(files: ClassFiles) -> None:
    assert rows(files.canvas) == [
        ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "mesh"],
        ["    Points Possible", "", "", "", "", "10"],
        ["Ada Lovelace", "", "1815", "ada@example.org", "", "9"],
        ["bob/#1", "", "", "", "", "7.5"],
        ["bob_#1", "", "", "", "", "0"],
        ["'=x", "", "", "", "", ""],
    ]


def test_moodle(files: ClassFiles) -> None:
    assert rows(files.moodle) == [
        ["Username", "ID number", "Full name", "mesh", "mesh (feedback)"],
        ["ada@example.org", "1815", "Ada Lovelace", "9", "1 day late"],
        ["bob/#1", "", "", "7.5", "MESH_WRONG_SHAPE"],
        ["bob_#1", "", "", "0", ""],
        ["'=x", "", "", "", "COULD_NOT_BE_JUDGED"],
    ]


def test_junit(files: ClassFiles) -> None:
    assert files.junit is not None
    suites = {suite.get("name"): suite for suite in ElementTree.parse(files.junit).getroot()}
    counts = {
        name: tuple(suite.get(kind) for kind in ("tests", "failures", "errors", "skipped"))
        for name, suite in suites.items()
    }
    assert counts == {
        "ada": ("4", "0", "0", "0"),
        "bob/#1": ("4", "1", "0", "0"),
        "bob_#1": ("4", "0", "0", "4"),
        "=x": ("4", "0", "1", "0"),
    }
    failure = suites["bob/#1"].find("testcase[@name='shape']/failure")
    assert failure is not None
    assert failure.get("message") == "<b>shape</b> & size"


def test_the_mistakes_without_names(files: ClassFiles) -> None:
    assert files.mistakes is not None
    row = "| 1 of 4 | mesh | `MESH_WRONG_SHAPE` | `kit lesson mesh` |"
    assert files.mistakes.read_text(encoding="utf-8").splitlines()[4:] == [row]


def test_pages(files: ClassFiles) -> None:
    assert files.pages is not None
    pages = {page.name: page.read_text(encoding="utf-8") for page in files.pages.iterdir()}
    assert set(pages) == {"ada.md", "bob__1.md", "bob__1-2.md", "_x.md"}
    assert pages["ada.md"].startswith("# Ada Lovelace\n\n9 of 10 points (1 day late).\n")
    assert "| mesh | 3 of 4 | 7.5 of 10 points |" in pages["bob__1.md"]
    assert "\n    MESH_WRONG_SHAPE: <b>shape</b> & size\n" in pages["bob__1.md"]
    assert "not decided of 10 points" in pages["_x.md"]
    assert not [name for name in pages if "Ada" in pages[name] and name != "ada.md"]


def test_a_place_of_the_other_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="name a folder in an existing folder"):
        ClassFiles(pages=tmp_path / "file").expect_writable()
    with pytest.raises(UserError, match="name a file in an existing folder"):
        ClassFiles(junit=tmp_path).expect_writable()
