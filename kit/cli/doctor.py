"""``kit doctor``."""

import sys
from pathlib import Path

import click

from kit.narrator import modules_so_far


@click.command("doctor")
@click.option("--runs", default="runs", type=click.Path(path_type=Path), help="Folder for runs.")
def command(runs: Path) -> None:
    """Check what this machine has, and what is missing.

    The exit code is 1 if `kit run` cannot tune the bundled model here.
    """
    from kit.cli.console import ConsoleNarrator
    from kit.doctor import examine

    marks = {"good": "ok     ", "missing": "without", "broken": "BROKEN "}
    broken = 0
    narrator = ConsoleNarrator()
    with narrator.working("examining this machine", modules_so_far):
        for finding in examine(runs):
            broken += finding.state == "broken"
            remedy = f" — {finding.remedy}" if finding.remedy else ""
            mark = f"{marks[finding.state]}  "
            narrator.paragraph(f"{finding.subject}: {finding.found}{remedy}", mark, " " * len(mark))
    if broken:
        click.echo(f"`kit run` cannot run here: {broken} broken.")
        sys.exit(1)
    click.echo("`kit run` can run here.")
