"""``kit report``."""

import sys
import webbrowser
from datetime import datetime
from pathlib import Path

import click

from kit.errors import UserError
from kit.narrator import modules_so_far
from kit.parts.implementation import EXERCISES


@click.command("report")
@click.argument("run", type=click.Path(path_type=Path), required=False)
@click.option("--course", is_flag=True, help="Write a page about your course, beside the folder with your exercises.")
@click.option("--folder", help="With --course: the folder with your exercises.  [default: exercises]")
@click.option("--open", "opened", is_flag=True, help="Also open the page in a browser.")
@click.option("--section", help="Write this section alone: loss, sharding, bytes, rules, parameters, style, …")
def command(run: Path | None, course: bool, folder: str | None, opened: bool, section: str | None) -> None:
    """Regenerate report.html in the folder of a finished RUN, and print its path.

    The page needs no network: loss, sharding, bytes per device, rule coverage, what the model wrote
    before and after with the style classifier's verdicts, settings and versions. With --course it
    is about what you wrote: progress, predictions, and the newest run of your exercises, or RUN.
    """
    if run is None and not course:
        raise UserError("Which run? Give the folder of a run, or `kit report --course` for your course.")
    if folder is not None and not course:
        raise UserError(f"--folder {folder}: it is for `kit report --course`; the report of a run needs none.")
    from kit.cli.console import ConsoleNarrator

    with ConsoleNarrator(sys.stderr).working("drawing the report", modules_so_far):
        if course:
            file = _write_course_report(folder or EXERCISES, run)
        else:
            from kit.report.run_report import write_report

            assert run is not None
            file = write_report(run, section)
    click.echo(file)
    if opened and not webbrowser.open(file.resolve().as_uri()):
        click.echo("Cannot start a browser: open the page yourself.", err=True)


def _write_course_report(folder: str, run: Path | None) -> Path:
    from kit.course.workspace import find_workspace
    from kit.report.course_report import newest_run, write_course_report
    from kit.run.finished import open_finished_run

    workspace = find_workspace(folder)
    found = newest_run(Path("runs"), folder) if run is None else open_finished_run(str(run))
    return write_course_report(workspace, folder, found, datetime.now().astimezone())
