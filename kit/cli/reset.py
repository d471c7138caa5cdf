"""``kit reset``."""

import click

from kit.parts.implementation import EXERCISES


@click.command("reset", context_settings={"show_default": True})
@click.argument("exercise", required=False)
@click.option("--folder", default=EXERCISES, help="The folder with your exercises.")
def command(exercise: str | None, folder: str) -> None:
    """Start EXERCISE over: replace your file by the stub, and keep a copy of it."""
    from kit.course.catalogue import catalogue
    from kit.course.workspace import find_workspace, shown

    name = catalogue().find(exercise).name
    workspace = find_workspace(folder)
    file = shown(workspace.file_of(name))
    if workspace.is_stub(name):
        click.echo(f"{file} is already the stub: nothing to do.")
        return
    backup = workspace.reset(name)
    click.echo(f"{file} is the stub again." + (f" Your file was saved as {shown(backup)}." if backup else ""))
