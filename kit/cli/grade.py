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
@click.option("--exercises", default="", help="Only these, with commas: mesh,layout.  [default: all]")
@click.option(
    "--layers",
    default="interface,spec,params,program,train",
    help="Layers of checks, with commas; tpu_compile and style (the whole run) take minutes each.",
)
@click.option("--report", type=click.Path(path_type=Path), help="Write a page about the class to this file.")
@click.option("--csv", type=click.Path(path_type=Path), help="Write a line for each learner and exercise to this file.")
@click.option(
    "--grades", type=click.Path(path_type=Path), help="Where grades are kept.  [default: grades.json in CLASS]"
)
@click.option(
    "--at-once", default=2, type=click.IntRange(1, 64), help="How many exercises are judged at the same time."
)
@click.option("--anew", is_flag=True, help="Judge also what has not changed since it was judged.")
def command(
    class_folder: Path,
    exercises: str,
    layers: str,
    report: Path | None,
    csv: Path | None,
    grades: Path | None,
    at_once: int,
    anew: bool,
) -> None:
    """Judge the exercises of a CLASS: a folder with a folder for each learner, and count the mistakes that they make.

    Each solution runs in processes of its own, with time limits, as in the tests, but as the user that you are: judge strangers' code
    on a machine that you can spare. Grades are kept, so that a class that goes on is judged in a moment where nothing has changed.
    """
    from kit.course.grading import GRADES_FILE, Grade, Learner, exercises_to_ask, find_learners, grade_class

    chosen_layers = tuple(name.strip() for name in layers.split(",") if name.strip())
    names = tuple(name.strip() for name in exercises.split(",") if name.strip())
    chosen = exercises_to_ask(names, chosen_layers)
    learners, without = find_learners(class_folder)
    kept = grades or class_folder / GRADES_FILE
    # Before anything is judged, which takes a while.
    for option, file in (("--report", report), ("--csv", csv), ("--grades", kept)):
        if file is not None and (file.is_dir() or not os.access(file.absolute().parent, os.W_OK)):
            raise UserError(f"{option} {file}: it cannot be written; give a file in a folder that is there.")
    if without:
        click.echo(f"left out, since no exercises are in them: {', '.join(without)}", err=True)

    def tell(learner: Learner, grade: Grade, was_there: bool) -> None:
        if not was_there and grade.state in ("right", "wrong"):
            said = ", ".join(grade.codes) or "all right"
            click.echo(f"{learner.name}, {grade.exercise}: {grade.passed} of {grade.checks}, {said}")

    found = grade_class(learners, chosen, chosen_layers, kept, tell, at_once, anew)
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
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 160)
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
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
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for heading in ("learners", "exercise", "code", "lesson"):
        table.add_column(heading, justify="right" if heading == "learners" else "left", overflow="fold")
    for count in counts:
        table.add_row(
            *map(Text, (str(len(count.learners)), count.exercise, count.code, count.example.lesson(count.exercise)))
        )
    console.print()
    console.print(table)


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
        raise UserError(f"{file}: it cannot be written ({error.strerror}).") from None
