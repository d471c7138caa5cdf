"""``kit hint``."""

import shutil
import textwrap

import click

from kit.errors import UserError
from kit.parts.implementation import EXERCISES

#: Of a line of text, at most.
WIDTH = 100


@click.command("hint", context_settings={"show_default": True})
@click.argument("exercise", required=False)
@click.option("--number", type=int, help="Show this hint, without marking it as shown.  [default: the next one]")
@click.option(
    "--folder",
    default=EXERCISES,
    help="The folder with your exercises. The hints you have seen are recorded beside it.",
)
def command(exercise: str | None, number: int | None, folder: str) -> None:
    """Show the next hint for EXERCISE. Each hint goes further than the one before."""
    from kit.course.catalogue import catalogue
    from kit.course.progress import Progress
    from kit.course.workspace import find_workspace

    chosen = catalogue().find(exercise)
    count = len(chosen.hints)
    if number is not None:
        if not 1 <= number <= count:
            raise UserError(f"--number {number}: {chosen.name} has hints 1 to {count}.")
        _show(chosen.name, number, chosen.hints)
        return
    progress = Progress(find_workspace(folder))
    next_number = progress.hints_shown(chosen.name) + 1
    if next_number > count:
        click.echo(
            f"All {count} hints for {chosen.name} have been shown. "
            f"`kit hint {chosen.name} --number 1` shows the first again, `kit lesson {chosen.name}` explains, "
            f"and `kit solution {chosen.name} --give-up` shows the solution."
        )
        return
    # Write first: if that fails, the hint is not shown, and not shown twice as the next one.
    progress.show_hints(chosen.name, next_number)
    _show(chosen.name, next_number, chosen.hints)


def _show(exercise: str, number: int, hints: tuple[str, ...]) -> None:
    click.echo(f"{exercise}, hint {number} of {len(hints)}")
    width = min(WIDTH, shutil.get_terminal_size((WIDTH, 0)).columns)
    click.echo(textwrap.fill(hints[number - 1], width, break_long_words=False, break_on_hyphens=False))
