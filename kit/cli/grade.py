"""``kit grade``."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kit.errors import UserError

if TYPE_CHECKING:
    from kit.course.grading import ClassGrades


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
    from kit.course.grading import (
        GRADES_FILE,
        JUDGED,
        Grade,
        Learner,
        exercises_to_ask,
        find_learners,
        grade_class,
    )

    chosen_layers = tuple(name.strip() for name in layers.split(",") if name.strip())
    names = tuple(name.strip() for name in exercises.split(",") if name.strip())
    chosen = exercises_to_ask(names, chosen_layers)
    learners = find_learners(class_folder)
    grades_file = grades or class_folder / GRADES_FILE
    # Check the files before judging, which takes a while.
    for option, file in (("--report", report), ("--csv", csv), ("--grades", grades_file)):
        if file is not None and (file.is_dir() or not os.access(file.absolute().parent, os.W_OK)):
            raise UserError(f"{option} {file}: cannot be written; name a file in an existing folder.")

    from kit.cli.console import ConsoleNarrator, print_line

    graded = 0

    def report_grade(learner: Learner, grade: Grade, unchanged: bool) -> None:
        nonlocal graded
        graded += 1
        work.count(graded, len(learners) * len(chosen), f"{learner.name}, {grade.exercise}")
        if not unchanged and grade.state in JUDGED:
            codes = ", ".join(grade.codes) or "all right"
            print_line(f"{learner.name}, {grade.exercise}: {grade.passed} of {grade.checks}, {codes}")

    with ConsoleNarrator(sys.stderr).working("judging") as work:
        found = grade_class(learners, chosen, chosen_layers, grades_file, report_grade, at_once, judge_all)
    _show(found)
    for learner_name, exercise, diagnosis in found.not_judged():
        click.echo(f"\n{learner_name}, {exercise}: {diagnosis.code}: {diagnosis.cause} {diagnosis.remedy}")
    if found.machine:
        click.echo(f"\n{found.machine}", err=True)
    if csv is not None:
        _write_csv(csv, found)
        click.echo(str(csv))
    if report is not None:
        from datetime import datetime

        from kit.formatting import inert_name
        from kit.report.class_report import write_class_report

        write_class_report(report, inert_name(class_folder.resolve().name), found, datetime.now().astimezone())
        click.echo(str(report))


def _show(grades: "ClassGrades") -> None:
    from rich.console import Console
    from rich.text import Text

    from kit.cli.console import plain_table

    console = Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 160)
    table = plain_table()
    for heading in ("learner", *grades.exercises):
        table.add_column(heading)
    for learner, of_learner in grades.grades.items():
        cells = [
            f"{grade.passed} of {grade.checks}" if grade.state in ("right", "wrong") else grade.state
            for grade in of_learner.values()
        ]
        table.add_row(*map(Text, (learner, *cells)))
    console.print()
    console.print(table)
    counts = grades.counts()
    if not counts:
        return
    table = plain_table()
    for heading in ("learners", "exercise", "code", "lesson"):
        table.add_column(heading, justify="right" if heading == "learners" else "left", overflow="fold")
    for count in counts:
        cells = [str(len(count.learners)), count.exercise, count.code, count.example.lesson(count.exercise)]
        table.add_row(*map(Text, cells))
    console.print()
    console.print(table)


def _write_csv(file: Path, grades: "ClassGrades") -> None:
    import csv
    import io

    from kit.files import write_text
    from kit.formatting import csv_cell

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("learner", "exercise", "state", "passed", "checks", "codes"))
    for learner, of_learner in grades.grades.items():
        for exercise, grade in of_learner.items():
            row = (learner, exercise, grade.state, str(grade.passed), str(grade.checks), " ".join(grade.codes))
            writer.writerow(map(csv_cell, row))
    try:
        write_text(file, text.getvalue())
    except OSError as error:
        raise UserError(f"{file}: cannot be written ({error.strerror}).") from None
