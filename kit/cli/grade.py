"""``kit grade``."""

import os
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kit.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kit.course.credit import Grading
    from kit.course.grading import ClassGrades, Grade, Learner
    from kit.narrator import Work
    from kit.report.gradebooks import Credits


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
@click.option(
    "--grading",
    type=click.Path(path_type=Path),
    help="Points, weights, due dates and the roster.  [default: grading.toml in CLASS, if it is there]",
)
@click.option("--canvas", type=click.Path(path_type=Path), help="Write a CSV file that Canvas imports.")
@click.option("--moodle", type=click.Path(path_type=Path), help="Write a CSV file that Moodle imports.")
@click.option("--junit", type=click.Path(path_type=Path), help="Write each check's result as JUnit XML.")
@click.option("--mistakes", type=click.Path(path_type=Path), help="Write the mistakes, without names, to this page.")
@click.option("--pages", type=click.Path(path_type=Path), help="Write a Markdown page per learner into this folder.")
@click.option(
    "--fail-under",
    type=click.FloatRange(0, 100),
    metavar="PERCENT",
    help="End with exit code 1 if a learner has less than this percentage of the points.",
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
    grading: Path | None,
    canvas: Path | None,
    moodle: Path | None,
    junit: Path | None,
    mistakes: Path | None,
    pages: Path | None,
    fail_under: float | None,
    at_once: int,
    judge_all: bool,
) -> None:
    """Grade the exercises of a CLASS, a folder with one folder per learner, and count the mistakes.

    Each solution runs in its own process with a time limit, but with your user's rights: run
    untrusted submissions on a disposable machine. Grades are written to a file, and unchanged
    exercises are not judged again.
    """
    from kit.course.credit import credits_of_class, find_grading, with_roster
    from kit.course.grading import GRADES_FILE, exercises_to_ask, find_learners, grade_class
    from kit.formatting import inert_name
    from kit.report.class_files import ClassFiles

    chosen_layers = tuple(name.strip() for name in layers.split(",") if name.strip())
    names = tuple(name.strip() for name in exercises.split(",") if name.strip())
    chosen = exercises_to_ask(names, chosen_layers)
    settings = find_grading(grading, class_folder)
    learners = with_roster(find_learners(class_folder), settings)
    grades_file = grades or class_folder / GRADES_FILE
    # Check the files before judging, which takes a while.
    files = ClassFiles(report, csv, canvas, moodle, junit, mistakes, pages)
    files.expect_writable()
    if grades_file.is_dir() or not os.access(grades_file.absolute().parent, os.W_OK):
        raise UserError(f"--grades {grades_file}: cannot be written; name a file in an existing folder.")

    from kit.cli.console import ConsoleNarrator
    from kit.runtime.privileges import protect_memory

    # A solution must not write answers into the pipe that this process reads.
    protect_memory()
    with ConsoleNarrator(sys.stderr).working("judging") as work:
        reporter = _Reporter(work, len(learners) * len(chosen))
        found = grade_class(learners, chosen, chosen_layers, grades_file, reporter.report, at_once, judge_all)
    _show(found)
    _show_what_has_no_verdict(found)
    credits = credits_of_class(learners, found, settings)
    _show_points(credits, settings)
    title = inert_name(class_folder.resolve().name)
    for file in files.write(title, found, credits, settings, datetime.now().astimezone()):
        click.echo(str(file))
    if fail_under is not None:
        _fail_under(fail_under, credits)


class _Reporter:
    """Prints each new grade, and counts all."""

    def __init__(self, work: "Work", total: int) -> None:
        self._work = work
        self._total = total
        self._graded = 0

    def report(self, learner: "Learner", grade: "Grade", unchanged: bool) -> None:
        """Take a grade."""
        from kit.cli.console import print_line
        from kit.course.grading import JUDGED

        self._graded += 1
        self._work.count(self._graded, self._total, f"{learner.name}, {grade.exercise}")
        if not unchanged and grade.state in JUDGED:
            codes = ", ".join(grade.codes) or "all right"
            print_line(f"{learner.name}, {grade.exercise}: {grade.passed} of {grade.checks}, {codes}")


def _show_what_has_no_verdict(grades: "ClassGrades") -> None:
    for learner, exercise, diagnosis in grades.not_judged():
        cause = " ".join(diagnosis.cause.split())
        click.echo(f"\n{learner}, {exercise}: {diagnosis.code}: {cause} {diagnosis.remedy}")
    if grades.machine:
        click.echo(f"\n{grades.machine}", err=True)


def _show_points(credits: "Credits", grading: "Grading") -> None:
    """Print the points of each learner, if the class has settings for them."""
    from kit.course.credit import Grading, total_of
    from kit.report.gradebooks import points_of

    if grading != Grading():
        click.echo()
        for learner, of_learner in credits.items():
            click.echo(f"{learner}: {points_of(total_of(of_learner))}")


def _fail_under(percent: float, credits: "Credits") -> None:
    from kit.course.credit import below

    too_few = below(credits, percent)
    if too_few:
        shares = (f"{name} ({'no verdict' if share is None else f'{share:.0f} %'})" for name, share in too_few.items())
        click.echo(f"below {percent:g} %: {', '.join(shares)}")
        sys.exit(1)


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
