"""``kit report``."""

import sys
import webbrowser
from pathlib import Path

import click

from kit.narrator import modules_so_far


@click.command("report")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--open", "opened", is_flag=True, help="Also open the page in a browser.")
@click.option("--section", help="Write this section alone: loss, sharding, bytes, rules, parameters, style, …")
def command(run: Path, opened: bool, section: str | None) -> None:
    """Regenerate report.html in the folder of a finished RUN, and print its path.

    The page needs no network: loss, sharding, bytes per device, rule coverage, what the model wrote
    before and after with the style classifier's verdicts, settings and versions.
    """
    from kit.cli.console import ConsoleNarrator

    with ConsoleNarrator(sys.stderr).working("drawing the report", modules_so_far):
        from kit.report.run_report import write_report

        file = write_report(run, section)
    click.echo(file)
    if opened and not webbrowser.open(file.resolve().as_uri()):
        click.echo("Cannot start a browser: open the page yourself.", err=True)
