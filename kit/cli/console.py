"""The output of a run on a terminal."""

import sys
import textwrap
from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from kit.narrator import Narrator


def plain_table() -> Table:
    """A table without lines."""
    return Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")


class ConsoleNarrator(Narrator):
    """Prints each step as it begins, and its evidence as it is found."""

    def __init__(self) -> None:
        """Print to the present standard output."""
        super().__init__()
        self._is_terminal = sys.stdout.isatty()
        import keras

        self._console = Console(file=sys.stdout, highlight=False, width=None if self._is_terminal else 118)
        if not self._is_terminal:
            # Keras redraws its progress bar in one line; a file or a pipe would keep every version
            # of it.
            keras.config.disable_interactive_logging()

    def step(self, title: str) -> None:
        """Print a numbered heading."""
        super().step(title)
        self._console.print()
        self._console.print(Text(f"{len(self.titles):>2}  {title}", style="bold"))

    def say(self, text: str) -> None:
        """Print an indented sentence."""
        self._lines(text)

    def table(self, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table without lines, with numbers aligned right."""
        table = plain_table()
        for column, heading in enumerate(headings):
            numeric = all(row[column].replace(",", "")[:1].isdigit() or not row[column] for row in rows)
            table.add_column(Text(heading), justify="right" if numeric else "left", overflow="fold")
        for row in rows:
            table.add_row(*map(Text, row))
        self._console.print(Padding(table, (0, 0, 0, 4), expand=False))

    def text(self, text: str) -> None:
        """Print text that a model generated."""
        self._lines(text.strip(), style="italic")

    def progress(self, step: int, steps: int, mean_loss: float) -> None:
        """Print a line after each tenth of the steps; on a terminal Keras has a progress bar."""
        if not self._is_terminal and (step == steps or step % max(1, steps // 10) == 0):
            self.say(f"step {step} of {steps}, mean loss {mean_loss:.4f}")

    def _lines(self, text: str, style: str = "") -> None:
        for line in textwrap.wrap(text, self._console.width - 4):
            self._console.print(Text("    " + line, style=style), soft_wrap=True)
