"""``kit init``."""

from pathlib import Path

import click


@click.command("init")
@click.argument("folder", type=click.Path(path_type=Path), default=Path())
@click.option("--update", is_flag=True, help="Bring newer stubs and tests, and keep what you wrote.")
def command(folder: Path, update: bool) -> None:
    """Write the course into FOLDER, by default the current one, which should be empty.

    It gets the exercises, their tests, settings of pytest and VS Code, and instructions that make
    coding assistants tutors. With --update a file that you changed is never overwritten.
    """
    if update:
        _update(folder)
        return
    from kit.init.folder import make_folder
    from kit.init.steps import first_steps

    number = make_folder(folder)
    click.echo(f"{number} files in {folder.resolve()}: the exercises, their tests, and README.md. Next:")
    for line in first_steps(folder):
        click.echo(f"    {line}")


def _update(folder: Path) -> None:
    from kit import __version__
    from kit.init.folder import update_folder
    from kit.init.steps import as_lines

    lines = as_lines(update_folder(folder), folder)
    for line in lines or [f"{folder.resolve()} has everything as in kit {__version__}: nothing to do."]:
        click.echo(line)
