"""The output of a run on a terminal."""

import contextlib
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from kit.narrator import Narrator

#: Seconds between two lines about something that takes long, where the output is not a terminal.
SECONDS_BETWEEN_LINES = 10.0


def plain_table() -> Table:
    """A table without lines."""
    return Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")


class Clock:
    """Shows how long something takes: redrawn on a terminal, a line from time to time elsewhere."""

    def __init__(self, console: Console, what: str) -> None:
        """Start."""
        self._what = what
        self._console = console
        self._started = time.perf_counter()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._redraw if console.is_terminal else self._show, daemon=True)
        self._thread.start()

    def change(self, what: str) -> None:
        """Name what is done now."""
        self._what = what

    def stop(self) -> None:
        """Delete the line from a terminal, and give the cursor back."""
        self._stopped.set()
        self._thread.join()

    def _line(self) -> str:
        return f"    {self._what} … {time.perf_counter() - self._started:.0f} s"

    def _show(self) -> None:
        while not self._stopped.wait(SECONDS_BETWEEN_LINES):
            self._console.print(Text(self._line()), soft_wrap=True)

    def _redraw(self) -> None:
        with self._console.status(self._line(), spinner="line") as status:
            while not self._stopped.wait(1.0):
                status.update(self._line())


@contextlib.contextmanager
def clock(console: Console, what: str) -> Iterator[Clock]:
    """Show how long something takes."""
    shown = Clock(console, what)
    try:
        yield shown
    finally:
        shown.stop()


class ConsoleNarrator(Narrator):
    """Prints each step as it begins, and its evidence as it is found."""

    def __init__(self) -> None:
        """Print to the present standard output."""
        super().__init__()
        self._is_terminal = sys.stdout.isatty()
        self._clock: Clock | None = None
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

    @contextlib.contextmanager
    def working(self, what: str) -> Iterator[Callable[[str], None]]:
        """Show a clock on a terminal, and print a line from time to time elsewhere."""
        with clock(self._console, what) as shown:
            self._clock = shown
            yield lambda progress: shown.change(f"{what}: {progress}")

    def stop_working(self) -> None:
        """Stop the clock."""
        if self._clock:
            self._clock.stop()

    def _lines(self, text: str, style: str = "") -> None:
        for line in textwrap.wrap(text, self._console.width - 4):
            self._console.print(Text("    " + line, style=style), soft_wrap=True)
