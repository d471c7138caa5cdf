"""``kit reset``."""

import click

from kit.parts.implementation import EXERCISES


@click.command("reset", context_settings={"show_default": True})
@click.argument("exercise", required=False)
@click.option("--folder", default=EXERCISES, help="The folder with your exercises.")
def command(exercise: str | None, folder: str) -> None:
    """Begin EXERCISE anew: put its stub back, and keep a copy of what was there."""
    from kit.course.catalogue import catalogue
    from kit.course.workspace import find_workspace, shown

    name = catalogue().find(exercise).name
    workspace = find_workspace(folder)
    file = shown(workspace.file_of(name))
    if workspace.is_stub(name):
        click.echo(f"{file} is the stub already: nothing was done.")
        return
    backup = workspace.reset(name)
    click.echo(f"{file} is the stub again." + (f" What was there is kept in {shown(backup)}." if backup else ""))
