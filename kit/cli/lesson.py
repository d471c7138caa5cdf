"""``kit lesson``."""

import sys

import click

from kit.parts.implementation import EXERCISES


@click.command("lesson", context_settings={"show_default": True})
@click.argument("exercise", required=False)
@click.argument("heading", nargs=-1)
@click.option("--folder", default=EXERCISES, help="The folder with your exercises, whose state the list shows.")
def command(exercise: str | None, heading: tuple[str, ...], folder: str) -> None:
    """List the exercises, or show the lesson of EXERCISE, or only its section HEADING."""
    if exercise is None:
        _list(folder)
        return
    from kit.course.lessons import lesson, section

    text = section(exercise, " ".join(heading)) if heading else lesson(exercise)
    from kit.cli.terminal import can_redraw

    if sys.stdout.isatty():
        _show(text, in_pager=can_redraw(sys.stdout) and sys.stdin.isatty())
    else:
        click.echo(text, nl=False)


def _show(text: str, in_pager: bool) -> None:
    """Print a lesson, with a pager if it is longer than the terminal."""
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.markdown import CodeBlock, Markdown
    from rich.text import Text

    class CodeToCopy(CodeBlock):
        """Code without Rich's margin and line breaks, so that a command can be copied and run."""

        def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
            yield Text(str(self.text).rstrip(), style="cyan", no_wrap=True, overflow="ignore")

    class Lesson(Markdown):
        elements = {**Markdown.elements, "fence": CodeToCopy, "code_block": CodeToCopy}  # noqa: RUF012 -- as in Rich

    console = Console(file=sys.stdout, highlight=False)
    with console.capture() as captured:
        console.print(Lesson(text))
    if in_pager and captured.get().count("\n") >= console.height:
        click.echo_via_pager(captured.get(), color=True)
    else:
        click.echo(captured.get(), nl=False, color=True)


def _list(folder: str) -> None:
    from rich.console import Console
    from rich.text import Text

    from kit.cli.console import plain_table
    from kit.course.board import read_board
    from kit.course.catalogue import catalogue
    from kit.course.workspace import find_workspace

    board = read_board(find_workspace(folder), folder)
    table = plain_table()
    for heading in ("", "exercise", "title", "difficulty", "minutes", "yours"):
        table.add_column(heading, justify="right" if heading in ("", "minutes") else "left")
    for number, exercise in enumerate(catalogue().exercises, 1):
        described = (str(number), exercise.name, exercise.title, "*" * exercise.difficulty, str(exercise.minutes))
        table.add_row(*map(Text, (*described, board.row(exercise.name).state)))
    Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 118).print(table)
    click.echo("\n`kit lesson NAME` shows a lesson. `kit check NAME` checks your code.")
