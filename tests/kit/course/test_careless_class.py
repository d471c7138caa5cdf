"""What one learner hands in costs that learner alone, whatever it is."""

import os
import re
from pathlib import Path

import pytest
from careless_class import EXERCISE, FAULTS, RIGHT, make_fault, text

from kit.course.grading import DEFAULT_LAYERS, ClassGrades, Grade, find_learners, grade_class

#: Each of these has the libraries imported again.
ATTACKS_ON_THE_PARENT = [name for name in FAULTS if "parent" in name]
CHEAP = [name for name in FAULTS if name not in ATTACKS_ON_THE_PARENT]
HONEST = "ada", "zoe"
#: Names of folders: bytes that are not UTF-8, and a terminal's sequences.
NAMES = {b"jos\xe9": "jos\\xe9", b"\x1b]52;c;aGk=\x07mallory": "\\x1b]52;c;aGk=\\x07mallory"}


def grade(class_folder: Path) -> ClassGrades:
    for name in HONEST:
        text(RIGHT)(class_folder / name)
    file = class_folder / "grades.json"
    return grade_class(find_learners(class_folder), (EXERCISE,), DEFAULT_LAYERS, file, lambda *_: None)


@pytest.fixture(scope="module")
def grades(tmp_path_factory: pytest.TempPathFactory) -> ClassGrades:
    """A class with each of the faults that cost little."""
    folder = tmp_path_factory.mktemp("handed-in")
    for name in CHEAP:
        make_fault(name, folder)
    for encoded in NAMES:
        text(RIGHT)(folder / os.fsdecode(encoded))
    return grade(folder)


def expect(found: Grade, name: str) -> None:
    assert (found.state, set(found.codes)) == (FAULTS[name][1], set(FAULTS[name][2]))


def test_every_folder_has_a_row(grades: ClassGrades) -> None:
    assert len(CHEAP) > 15
    assert set(grades.grades) == {*CHEAP, *HONEST, *NAMES.values()}
    for name in CHEAP:
        expect(grades.grades[name][EXERCISE], name)


def test_the_honest_have_their_grades(grades: ClassGrades) -> None:
    for name in (*HONEST, *NAMES.values()):
        assert grades.grades[name][EXERCISE] == Grade(EXERCISE, "right", grades.grades["ada"][EXERCISE].checks)


def test_what_has_no_verdict_is_no_mistake_of_the_class(grades: ClassGrades) -> None:
    causes = {learner: diagnosis.cause for learner, _, diagnosis in grades.not_judged()}
    assert "it is a named pipe" in causes["named pipe"]
    assert "it is a link to a file that does not exist" in causes["dangling link"]
    assert "it has 50.0 MB, and a module at most 1 MB" in causes["50 MB"]
    assert "first/exercises, second/exercises" in causes["two folders"]
    assert not {count.code for count in grades.counts()} & {"COULD_NOT_BE_READ", "COULD_NOT_BE_JUDGED"}
    assert grades.machine == ""


@pytest.mark.long
@pytest.mark.parametrize("name", ATTACKS_ON_THE_PARENT)
def test_an_attack_on_the_parent(name: str, tmp_path: Path) -> None:
    make_fault(name, tmp_path)
    found = grade(tmp_path)
    ((learner, exercise, diagnosis),) = found.not_judged()
    assert (learner, exercise) == (name, EXERCISE)
    assert re.search(r"(signal 9|was stopped|no answer) while it ran reviews\.py, and nothing else", diagnosis.cause)
    expect(found.grades[name][EXERCISE], name)
    assert {found.grades[honest][EXERCISE].state for honest in HONEST} == {"right"}
