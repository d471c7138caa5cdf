"""``kit`` without a command: the board."""

import shutil
import sys
import textwrap

import click

from kit.cli.terminal import wants_plain_lines
from kit.course.board import Board, Row
from kit.parts.implementation import EXERCISES

#: State -> its colour on a terminal.
COLOURS = {"passed": "green", "failing": "red", "begun": "yellow", "changed since": "yellow", "not checked": "yellow"}
#: Columns before the note, and columns more where predictions are shown.
_BEFORE_THE_NOTE = 43
_PREDICTED = 11
#: The longest lines of text, for a reader's sake.
_WIDEST_TEXT = 100


def show_board(folder: str) -> None:
    """Print the exercises in order with their states, and the next step."""
    from kit.course.board import read_board
    from kit.course.workspace import find_workspace
    from kit.errors import UserError

    try:
        board = read_board(find_workspace(folder), folder)
    except UserError as error:
        if folder != EXERCISES:
            raise
        # Without exercises this is the first thing that a person types, and no mistake.
        click.echo(str(error))
        click.echo("`kit run` runs the tutorial with the kit's own parts, and `kit --help` lists the commands.")
        return
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    click.echo("\n".join(board_lines(board, width, has_colour())))


def board_lines(board: Board, width: int | None, colour: bool) -> list[str]:
    """The board as lines of at most this width; None shortens nothing."""
    checks = sum(row.passed for row in board.rows)
    lines = [f"{len(board.passed)} of {len(board.rows)} exercises passed, {checks} checks"]
    # The column is there for those who predict.
    predicts = any(row.predicted[1] for row in board.rows)
    header = f"    {'exercise':<12}{'min':>3}  {'state':<15}{'checks':<7}" + (f"{'predicted':<{_PREDICTED}}" * predicts)
    lines += ["", header + _shortened("layers passed, or what fails", width, predicts)]
    for previous, row in zip((None, *board.rows), board.rows, strict=False):
        if row.advanced and not (previous and previous.advanced):
            lines.append("    advanced")
        lines.append(_line(row, width, colour, predicts))
    wrap = min(width or _WIDEST_TEXT, _WIDEST_TEXT)
    lines += ["", *textwrap.wrap(board.next_step.sentence, wrap), f"Next: {board.next_step.command}"]
    if board.problem:
        lines += ["", *textwrap.wrap(board.problem, wrap, break_long_words=False)]
    return lines


def has_colour() -> bool:
    """Whether standard output is a terminal that takes colours."""
    return sys.stdout.isatty() and not wants_plain_lines()


def _line(row: Row, width: int | None, colour: bool, predicts: bool) -> str:
    state = f"{row.state:<15}"
    if colour and row.state in COLOURS:
        state = click.style(state, fg=COLOURS[row.state])
    count = "" if row.state in ("not started", "missing") else f"{row.passed}/{row.checks}"
    right, answered = row.predicted
    predicted = f"{f'{right}/{answered}' if answered else '':<{_PREDICTED}}" if predicts else ""
    note = _shortened(row.note or ", ".join(row.layers), width, predicts)
    return f"{row.number:>2}  {row.exercise:<12}{row.minutes:>3}  {state}{count:<7}{predicted}{note}".rstrip()


def _shortened(note: str, width: int | None, predicts: bool) -> str:
    """A text of the last column, cut where the line would be wider than the terminal."""
    if width is None or len(note) <= (space := max(width - _BEFORE_THE_NOTE - predicts * _PREDICTED, 20)):
        return note
    return note[: space - 1] + "…"
