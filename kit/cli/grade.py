"""``kit grade``."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kit.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kit.course.grading import ClassGrades, Grade


@click.command("grade", context_settings={"show_default": True})
@click.argument("class_folder", metavar="CLASS", type=click.Path(path_type=Path))
@click.option(
    "--exercises",
    default="",
    show_default=False,
    help="Only these exercises, separated by commas: mesh,layout.  [default: all]",
)
@click.option(
    "--layers",
    default="interface,spec,params,program,train",
    help="Layers of checks, separated by commas; tpu_compile and style (the whole run) take minutes each.",
)
@click.option("--report", type=click.Path(path_type=Path), help="Write a web page about the class to this file.")
@click.option("--csv", type=click.Path(path_type=Path), help="Write one line per learner and exercise to this file.")
@click.option(
    "--grades", type=click.Path(path_type=Path), help="The file with the grades.  [default: grades.json in CLASS]"
)
@click.option("--at-once", default=2, type=click.IntRange(1, 64), help="Judge this many exercises at the same time.")
@click.option("--anew", "judge_all", is_flag=True, help="Judge unchanged exercises too.")
def command(
    class_folder: Path,
    exercises: str,
    layers: str,
    report: Path | None,
    csv: Path | None,
    grades: Path | None,
    at_once: int,
    judge_all: bool,
) -> None:
    """Grade the exercises of a CLASS, a folder with one folder per learner, and count the mistakes.

    Each solution runs in its own process with a time limit, but with your user's rights: run
    untrusted submissions on a disposable machine. Grades are written to a file, and unchanged
    exercises are not judged again.
    """
    from kit.course.grading import GRADES_FILE, Grade, Learner, exercises_to_ask, find_learners, grade_class

    chosen_layers = tuple(name.strip() for name in layers.split(",") if name.strip())
    names = tuple(name.strip() for name in exercises.split(",") if name.strip())
    chosen = exercises_to_ask(names, chosen_layers)
    learners, without = find_learners(class_folder)
    grades_file = grades or class_folder / GRADES_FILE
    # Check the files before judging, which takes a while.
    for option, file in (("--report", report), ("--csv", csv), ("--grades", grades_file)):
        if file is not None and (file.is_dir() or not os.access(file.absolute().parent, os.W_OK)):
            raise UserError(f"{option} {file}: cannot be written; name a file in an existing folder.")
    if without:
        click.echo(f"skipped, because they contain no exercises: {', '.join(without)}", err=True)

    from kit.cli.console import ConsoleNarrator, print_line

    graded = 0

    def report_grade(learner: Learner, grade: Grade, unchanged: bool) -> None:
        nonlocal graded
        graded += 1
        work.count(graded, len(learners) * len(chosen), f"{learner.name}, {grade.exercise}")
        if not unchanged and grade.state in ("right", "wrong"):
            codes = ", ".join(grade.codes) or "all right"
            print_line(f"{learner.name}, {grade.exercise}: {grade.passed} of {grade.checks}, {codes}")

    with ConsoleNarrator(sys.stderr).working("judging") as work:
        found = grade_class(learners, chosen, chosen_layers, grades_file, report_grade, at_once, judge_all)
    _show(found)
    if csv is not None:
        _write_csv(csv, found)
        click.echo(str(csv))
    if report is not None:
        from datetime import datetime

        from kit.report.class_report import write_class_report

        write_class_report(report, class_folder.resolve().name, found, datetime.now().astimezone())
        click.echo(str(report))


def _show(grades: "ClassGrades") -> None:
    from kit.cli.console import make_console

    width = make_console().width if sys.stdout.isatty() else None
    columns: list[list[str]] = [["learner", *grades.grades]]
    for exercise in grades.exercises:
        found = [of_learner[exercise] for of_learner in grades.grades.values()]
        columns.append([exercise, *(_in_words(grade) for grade in found)])
    for lines in _tables(columns, width):
        click.echo("\n" + "\n".join(lines))
    counts = grades.counts()
    if not counts:
        return
    rows = [(str(len(count.learners)), count.exercise, count.code) for count in counts]
    columns = [list(column) for column in zip(("learners", "exercise", "code"), *rows, strict=True)]
    columns[0] = [cell.rjust(len("learners")) for cell in columns[0]]
    lines = _table(columns)
    lessons = ["lesson", *(count.example.lesson(count.exercise) for count in counts)]
    beside = [f"{line}  {lesson}" for line, lesson in zip(lines, lessons, strict=True)]
    if width is not None and max(map(len, beside)) > width:
        # The command stays whole, so that it can be copied.
        below = zip(lines[1:], lessons[1:], strict=True)
        beside = [lines[0], *(f"{line.rstrip()}\n    {lesson}".rstrip() for line, lesson in below)]
    click.echo("\n" + "\n".join(beside))


def _in_words(grade: "Grade") -> str:
    return f"{grade.passed} of {grade.checks}" if grade.state in ("right", "wrong") else grade.state


def _table(columns: list[list[str]]) -> list[str]:
    """The lines of a table of columns, the headings first."""
    widths = [max(map(len, column)) for column in columns]
    rows = zip(*columns, strict=True)
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]


def _tables(columns: list[list[str]], width: int | None) -> "Iterator[list[str]]":
    """Tables that each have the first column, and as many others as fit into the width."""
    first, *others = columns
    while others:
        number = len(others)
        while width is not None and number > 1 and len(_table([first, *others[:number]])[0]) > width:
            number -= 1
        yield _table([first, *others[:number]])
        others = others[number:]


def _write_csv(file: Path, grades: "ClassGrades") -> None:
    import csv
    import io

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("learner", "exercise", "state", "passed", "checks", "codes"))
    for learner, of_learner in grades.grades.items():
        for exercise, grade in of_learner.items():
            writer.writerow((learner, exercise, grade.state, grade.passed, grade.checks, " ".join(grade.codes)))
    from kit.files import write_text

    try:
        write_text(file, text.getvalue())
    except OSError as error:
        raise UserError(f"{file}: cannot be written ({error.strerror}).") from None
