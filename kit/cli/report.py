"""``kit report``."""

import webbrowser
from pathlib import Path

import click


@click.command("report")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--open", "opened", is_flag=True, help="Open the page in a browser as well.")
def command(run: Path, opened: bool) -> None:
    """Write report.html of a finished run into its folder RUN anew, and print where it is.

    The page needs no network: loss, sharding, bytes per device, rule coverage, what the model wrote before and after with
    the judge's verdicts, settings and versions.
    """
    from kit.report.run_report import write_report

    file = write_report(run)
    click.echo(file)
    if opened and not webbrowser.open(file.resolve().as_uri()):
        click.echo("No browser could be started: open the page yourself.", err=True)
