"""The report of a class: progress and the most frequent mistakes. Imports no framework."""

from dataclasses import dataclass
from datetime import datetime

from kit.course.grading import JUDGED, ClassGrades, Grade
from kit.report.page import render_page

#: The mark of a cell by the state of the exercise, for readers who do not see its colour.
MARKS = {"right": "✓", "wrong": "✕", "not judged": "?", "to do": "·", "missing": "–", "nothing handed in": "–"}


@dataclass(frozen=True)
class Column:
    """An exercise over the whole class."""

    exercise: str
    right: int
    #: Learners who have started it.
    started: int


@dataclass(frozen=True)
class ExerciseDiagnostics:
    """The diagnostics of one exercise of a learner, each once."""

    grade: Grade
    texts: tuple[str, ...]


def render(title: str, grades: ClassGrades, when: datetime) -> str:
    """The text of the page."""
    columns = [_column(exercise, grades) for exercise in grades.exercises]
    return render_page(
        "class_report.html",
        {"mark": MARKS.__getitem__},
        title=title,
        when=when,
        grades=grades,
        columns=columns,
        right=sum(column.right for column in columns),
        started=sum(column.started for column in columns),
        counts=[(count, count.example.as_text(count.exercise)) for count in grades.counts()],
        diagnostics={learner: _diagnostics(of_learner) for learner, of_learner in grades.grades.items()},
    )


def _column(exercise: str, grades: ClassGrades) -> Column:
    states = [of_learner[exercise].state for of_learner in grades.grades.values()]
    return Column(exercise, states.count("right"), sum(state in JUDGED for state in states))


def _diagnostics(of_learner: dict[str, Grade]) -> list[ExerciseDiagnostics]:
    found = []
    for grade in of_learner.values():
        texts = dict.fromkeys(finding.diagnosis.as_text(grade.exercise) for finding in grade.findings)
        if texts:
            found.append(ExerciseDiagnostics(grade, tuple(texts)))
    return found
