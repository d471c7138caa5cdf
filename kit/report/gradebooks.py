"""Grades for other programs: spreadsheets, Canvas, Moodle, and what reads JUnit's XML, and pages.

Imports no framework.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from xml.etree import ElementTree

from kit.course.credit import Credit, Grading, total_of
from kit.course.grading import ClassGrades
from kit.formatting import csv_cell

#: Learner -> exercise -> points.
Credits = Mapping[str, Mapping[str, Credit]]


def grades_csv(grades: ClassGrades) -> str:
    """A line for each learner and exercise."""
    rows = [("learner", "exercise", "state", "passed", "checks", "codes")]
    for learner, of_learner in grades.grades.items():
        for exercise, grade in of_learner.items():
            counts = str(grade.passed), str(grade.checks)
            rows.append((learner, exercise, grade.state, *counts, " ".join(grade.codes)))
    return _csv(rows)


def canvas_csv(credits: Credits, grading: Grading) -> str:
    """A file for Grades, Import in Canvas: an assignment for each exercise.

    A cell is empty if there is no verdict, so Canvas leaves what it has.
    """
    exercises = list(next(iter(credits.values()), {}))
    rows = [("Student", "ID", "SIS User ID", "SIS Login ID", "Section", *exercises)]
    rows.append(("    Points Possible", "", "", "", "", *(_number(grading.possible(name)) for name in exercises)))
    for learner, of_learner in credits.items():
        member = grading.member(learner)
        points = (_number(of_learner[name].points) for name in exercises)
        rows.append((member.name or learner, "", member.id, member.login, "", *points))
    return _csv(rows)


def moodle_csv(credits: Credits, grading: Grading, grades: ClassGrades) -> str:
    """A file for Grades, Import, CSV file in Moodle: points and feedback for each exercise."""
    exercises = list(next(iter(credits.values()), {}))
    headings = [heading for name in exercises for heading in (name, f"{name} (feedback)")]
    rows = [("Username", "ID number", "Full name", *headings)]
    for learner, of_learner in credits.items():
        member = grading.member(learner)
        cells = [
            cell
            for name in exercises
            for cell in (
                _number(of_learner[name].points),
                _feedback(grades.grades[learner][name].codes, of_learner[name]),
            )
        ]
        rows.append((member.login or learner, member.id, member.name, *cells))
    return _csv(rows)


def junit_xml(grades: ClassGrades) -> str:
    """A suite for each learner, with a case for each check."""
    root = ElementTree.Element("testsuites", name="kit grade")
    for learner, of_learner in grades.grades.items():
        suite = ElementTree.SubElement(root, "testsuite", name=learner)
        counts = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
        for exercise, grade in of_learner.items():
            found = {finding.check: finding.diagnosis for finding in grade.findings}
            for check in grades.checks[exercise]:
                case = ElementTree.SubElement(suite, "testcase", classname=f"{learner}.{exercise}", name=check.id)
                counts["tests"] += 1
                if grade.state in ("missing", "to do", "nothing handed in"):
                    counts["skipped"] += 1
                    ElementTree.SubElement(case, "skipped", message=grade.state)
                elif (diagnosis := found.get(check.name)) is not None:
                    kind = "error" if diagnosis.is_no_verdict else "failure"
                    counts[f"{kind}s"] += 1
                    failed = ElementTree.SubElement(case, kind, message=diagnosis.cause, type=diagnosis.code)
                    failed.text = diagnosis.as_text(exercise)
        for name, count in counts.items():
            suite.set(name, str(count))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def mistakes_page(grades: ClassGrades) -> str:
    """A page in Markdown on the mistakes of the class, without names, and the lessons to read."""
    lines = ["# What to teach again", "", "| learners | exercise | what the checks found | read together |"]
    lines.append("|---|---|---|---|")
    for count in grades.counts():
        # The cause and the evidence are of one learner, and may name the folder.
        cells = (f"{len(count.learners)} of {len(grades.grades)}", count.exercise, f"`{count.code}`")
        lines.append(f"| {' | '.join(cells)} | `{count.example.lesson(count.exercise)}` |")
    return "\n".join(lines) + "\n"


def learner_page(learner: str, credits: Mapping[str, Credit], grades: ClassGrades, grading: Grading) -> str:
    """A page in Markdown for one learner, without anything about the others."""
    member, total = grading.member(learner), total_of(credits)
    lines = [f"# {_text(member.name or learner)}", "", f"{points_of(total)}.", ""]
    lines += ["| exercise | checks passed | points |", "|---|---|---|"]
    for exercise, grade in grades.grades[learner].items():
        passed = f"{grade.passed} of {grade.checks}" if grade.state in ("right", "wrong") else grade.state
        lines.append(f"| {exercise} | {passed} | {points_of(credits[exercise])} |")
    for exercise, grade in grades.grades[learner].items():
        for diagnosis in dict.fromkeys(finding.diagnosis for finding in grade.findings):
            lines += ["", f"## {exercise}: {diagnosis.code}", ""]
            # Indented by four, nothing of a diagnostic is Markdown.
            lines += [f"    {line}".rstrip() for line in diagnosis.as_text(exercise).splitlines()]
    return "\n".join(lines) + "\n"


def _feedback(codes: Sequence[str], credit: Credit) -> str:
    late = [_late(credit)] if credit.days_late else []
    return ", ".join([*codes, *late])


def points_of(credit: Credit) -> str:
    """``7.5 of 10 points (2 days late)``."""
    points = "not decided" if credit.points is None else _number(credit.points)
    late = f" ({_late(credit)})" if credit.days_late else ""
    return f"{points} of {_number(credit.possible)} points{late}"


def _late(credit: Credit) -> str:
    return f"{credit.days_late} day{'s' if credit.days_late > 1 else ''} late"


def _number(points: float | None) -> str:
    return "" if points is None else f"{points:g}"


def _text(name: str) -> str:
    """A name that Markdown takes for no markup."""
    return "".join(f"\\{character}" if character in "\\`*_{}[]<>()#+-.!|&" else character for character in name)


def _csv(rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([csv_cell(cell) for cell in row] for row in rows)
    return text.getvalue()
