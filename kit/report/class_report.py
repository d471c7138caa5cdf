"""The report of a class: how far each learner is, and which mistakes many make. One page; imports no framework."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from kit.course.grading import ClassGrades, CodeCount, Grade
from kit.report.page import render_page, write_page

#: What a cell of the table says beside its numbers, by the state of the exercise, so that colour is not needed.
MARKS = {"right": "✓", "wrong": "✕", "to do": "·", "missing": "–"}


@dataclass(frozen=True)
class Column:
    """An exercise over the whole class."""

    exercise: str
    right: int
    #: Learners who have written something.
    begun: int


@dataclass(frozen=True)
class Told:
    """What was found in one exercise of a learner, each diagnosis once."""

    grade: Grade
    panels: tuple[str, ...]


def write_class_report(file: Path, title: str, grades: ClassGrades, when: datetime) -> None:
    """Write the page.

    Args:
        file: Over an earlier one.
        title: The class's name.
        grades: Of the class.
        when: It was judged.

    Raises:
        UserError: if it cannot be written. Then an earlier page is left as it was.

    """
    write_page(file, render(title, grades, when))


def render(title: str, grades: ClassGrades, when: datetime) -> str:
    """The page as a text."""
    columns = [_column(exercise, grades) for exercise in grades.exercises]
    return render_page(
        "class_report.html",
        {"mark": MARKS.__getitem__},
        title=title,
        when=when,
        grades=grades,
        columns=columns,
        right=sum(column.right for column in columns),
        begun=sum(column.begun for column in columns),
        counts=[(count, _panel(count)) for count in grades.counts()],
        told={learner: _told(of_learner) for learner, of_learner in grades.grades.items()},
    )


def _column(exercise: str, grades: ClassGrades) -> Column:
    states = [of_learner[exercise].state for of_learner in grades.grades.values()]
    return Column(exercise, states.count("right"), states.count("right") + states.count("wrong"))


def _panel(count: CodeCount) -> str:
    return count.example.as_text(count.exercise)


def _told(of_learner: dict[str, Grade]) -> list[Told]:
    found = []
    for grade in of_learner.values():
        panels = dict.fromkeys(finding.diagnosis.as_text(grade.exercise) for finding in grade.findings)
        if panels:
            found.append(Told(grade, tuple(panels)))
    return found
