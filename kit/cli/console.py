"""The output of a command: on a terminal, in a pipe and in a notebook.

``kit.cli.terminal`` knows which of them it is. While something takes long, a terminal shows one
line that is redrawn, with a bar where something can be counted; a notebook shows one line that is
replaced; and a pipe gets a plain line from time to time.
"""

import contextlib
import os
import re
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import IO, TextIO

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from kit.cli.terminal import can_redraw, can_replace
from kit.formatting import shortened
from kit.narrator import Narrator, Work

#: Without a terminal: seconds until the first line about something, and between two lines.
SECONDS_UNTIL_LINE = 2.0
SECONDS_BETWEEN_LINES = 5.0
#: In a notebook: seconds until the line is replaced. Each of them stays in some notebooks' files.
SECONDS_UNTIL_REPLACED = 1.0
#: Columns where there is no terminal, neither for the output nor for messages.
WIDTH_WITHOUT_TERMINAL = 118
#: Before the rest of a line that was wrapped.
WRAPPED_INDENT = " " * 6
#: Columns of a bar, at least.
LEAST_BAR = 8
#: Characters of a path that is shortened, at least, and what no path has.
LEAST_PATH = 20
_IS_NO_PATH = re.compile(r"[\s*|?()\[\]]")
#: Stands for a space at which no line may end.
_SPACE_IN_COMMAND = "\0"


def make_console(file: TextIO | None = None, plain: bool = False) -> Console:
    """A console that is as wide as the terminal, and prints plain text where it should."""
    file = file or sys.stdout
    terminals = (stream for stream in (sys.__stdout__, sys.__stderr__) if stream is not None and stream.isatty())
    known_width = "COLUMNS" in os.environ or next(terminals, None) is not None
    redraws = can_redraw(file) and not plain
    return Console(
        file=file,
        highlight=False,
        # FORCE_COLOR, which notebooks set, would let rich redraw lines in a pipe.
        force_terminal=redraws,
        no_color=None if redraws else True,
        width=None if known_width else WIDTH_WITHOUT_TERMINAL,
    )


def wrap(text: str, width: int, indent: str = "") -> list[str]:
    """The lines of a text, of which all but the first begin with ``indent``.

    A command in backticks and a path stay whole, so that they can be copied.
    """
    whole = re.sub("`[^`]+`", lambda command: command[0].replace(" ", _SPACE_IN_COMMAND), text)
    lines = textwrap.wrap(whole, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return [line.replace(_SPACE_IN_COMMAND, " ") for line in lines]


def print_line(text: str, file: TextIO | None = None) -> None:
    """Print a line above the one about what is being done, into which click would write.

    A terminal gets it wrapped at spaces, so that names and codes stay whole; a pipe gets it whole.
    """
    file = file or sys.stdout
    lines = text.split("\n")
    if file.isatty():
        width = make_console(file).width
        lines = [part for line in lines for part in wrap(line, width, WRAPPED_INDENT) or [""]]
    print("\n".join(lines), file=file, flush=True)


def plain_table() -> Table:
    """A table without lines."""
    return Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")


def fitting_rows(headings: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[list[str]]:
    """The rows of a table with its paths shortened in their middle, as far as the width needs it.

    Patterns and sentences are left to be wrapped.
    """
    found = [list(row) for row in rows]
    widths = [max(len(row[column]) for row in (headings, *rows)) for column in range(len(headings))]
    excess = sum(widths) + 2 * (len(widths) - 1) - width
    for column, widest in sorted(enumerate(widths), key=lambda item: -item[1]):
        cells = [row[column] for row in found]
        if excess > 0 and any("/" in cell for cell in cells) and not any(_IS_NO_PATH.search(cell) for cell in cells):
            kept = max(widest - excess, LEAST_PATH)
            excess -= widest - kept
            for row in found:
                row[column] = shortened(row[column], kept)
    return found


class _WorkLine:
    """One line about a work, as wide as the terminal: spinner, what, bar, count and seconds."""

    def __init__(self) -> None:
        self.work = Work("")
        self._spinner = Spinner("line")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        work, width = self.work, options.max_width - 1
        left, right = describe(work), f" {seconds_of(work)}"
        bar = None
        if work.total:
            right = f" {counted(work)}" + right
        free = width - 6 - len(right)
        if work.total and (bar_width := free - len(left) - 1) >= LEAST_BAR:
            bar = ProgressBar(work.total, work.done, width=bar_width)
        line = Table.grid()
        parts: list[Text | ProgressBar | Spinner] = [Text("    "), self._spinner, Text(" ")]
        parts += [Text(left if len(left) <= free else left[: max(0, free - 1)] + "…")]
        parts += [Text(" "), bar, Text(right)] if bar else [Text(right)]
        for _ in parts:
            line.add_column(no_wrap=True)
        line.add_row(*parts)
        yield line


def describe(work: Work) -> str:
    """What is done, without count and seconds."""
    detail = work.detail() if callable(work.detail) else work.detail
    return f"{work.what}: {detail}" if detail else work.what


def counted(work: Work) -> str:
    """How much is done, of how much."""
    return f"{work.as_text(work.done)} of {work.as_text(work.total)}"


def seconds_of(work: Work) -> str:
    """How long it has taken so far."""
    seconds = time.perf_counter() - work.started
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds // 60:.0f} min {seconds % 60:02.0f} s"


def _in_one_line(work: Work) -> str:
    """What is done, count and seconds, as plain text."""
    count = f" {counted(work)}" if work.total else ""
    return f"    {describe(work)}{count} … {seconds_of(work)}"


class _ReplacedLine:
    """One line that replaces the one before, without a terminal's sequences."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._length = 0

    def show(self, text: str) -> None:
        """Replace the line; an empty text leaves nothing of it."""
        if not (text or self._length):
            return
        # Notebooks keep what is longer than the new line, so spaces replace it.
        spaces = " " * max(0, self._length - len(text))
        self._file.write(f"\r{text}{spaces}" if text else f"\r{spaces}\r")
        self._file.flush()
        self._length = len(text)


class ConsoleNarrator(Narrator):
    """Prints each step as it begins, its evidence as it is found, and what takes long meanwhile."""

    def __init__(self, file: TextIO | None = None, plain: bool = False) -> None:
        """Print to a file, by default standard output; ``plain`` redraws no line there."""
        super().__init__()
        self._console = make_console(file, plain)
        self._redraws = self._console.is_terminal
        #: What is being done, the outermost first.
        self._works: list[Work] = []
        self._line = _WorkLine()
        self._live: Live | None = None
        self._replaced = None if plain or not can_replace(self._console.file) else _ReplacedLine(self._console.file)
        #: Held while something is printed, so that it does not end up within the replaced line.
        self._printing = threading.RLock()
        self._stopped = threading.Event()
        self._printed = time.perf_counter()

    @property
    def console(self) -> Console:
        """Where the narrator prints."""
        return self._console

    def for_progress(self) -> "ConsoleNarrator":
        """The narrator that shows what takes long: in a pipe, another one on standard error."""
        return self if self._redraws or self._replaced else ConsoleNarrator(sys.stderr)

    def print(self, *content: object, **options: bool) -> None:
        """Print above the line about what is being done."""
        self._printed = time.perf_counter()
        with self._printing:
            if self._replaced is not None:
                self._replaced.show("")
            self._console.print(*content, **options)  # type: ignore[arg-type]  # rich's own options

    def step(self, title: str) -> None:
        """Print a numbered heading."""
        super().step(title)
        self.print()
        self.print(Text(f"{len(self.titles):>2}  {title}", style="bold"))
        if self._works:
            self._works[0].begin(title)

    def say(self, text: str) -> None:
        """Print an indented sentence."""
        self._lines(text)

    def table(self, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table without lines, with numbers aligned right."""
        table = plain_table()
        for column, heading in enumerate(headings):
            numeric = all(row[column].replace(",", "")[:1].isdigit() or not row[column] for row in rows)
            table.add_column(Text(heading), justify="right" if numeric else "left", overflow="fold")
        for row in fitting_rows(headings, rows, self._console.width - 4):
            table.add_row(*map(Text, row))
        self.print(Padding(table, (0, 0, 0, 4), expand=False))

    def text(self, text: str) -> None:
        """Print text that a model generated."""
        self._lines(text.strip(), style="italic")

    def progress(self, step: int, steps: int, mean_loss: float) -> None:
        """Move the bar; in a pipe, print a line after each tenth of the steps."""
        if self._works:
            work = self._works[-1]
            if not work.done:
                # The first step compiles the program.
                work.begin("training")
            work.count(step, steps, f"mean loss {mean_loss:.4f}")
        if not (self._redraws or self._replaced) and (step == steps or step % max(1, steps // 10) == 0):
            self.say(f"step {step} of {steps}, mean loss {mean_loss:.4f}")

    @contextlib.contextmanager
    def working(self, what: str, detail: str | Callable[[], str] = "") -> Iterator[Work]:
        """Show a line on a terminal, and print one from time to time elsewhere."""
        work = Work(what, detail)
        self._works.append(work)
        if len(self._works) == 1:
            self._start()
        try:
            yield work
        finally:
            self._works.remove(work)
            if not self._works:
                self.stop_working()

    def stop_working(self) -> None:
        """Delete the line from a terminal, and give the cursor back."""
        self._stopped.set()
        live, self._live = self._live, None
        if live is not None:
            live.stop()
        if self._replaced is not None:
            with self._printing:
                self._replaced.show("")

    def _start(self) -> None:
        self._stopped = threading.Event()
        if self._redraws:
            # What a command prints itself appears above the line, unless it goes somewhere else.
            self._live = Live(
                console=self._console,
                get_renderable=self._current_line,
                refresh_per_second=8,
                transient=True,
                redirect_stdout=sys.stdout is self._console.file or sys.stdout.isatty(),
                redirect_stderr=sys.stderr is self._console.file or sys.stderr.isatty(),
            )
            self._live.start(refresh=True)
        else:
            print_lines = self._print_lines if self._replaced is None else self._replace_line
            threading.Thread(target=print_lines, args=(self._stopped,), daemon=True).start()

    def _current_line(self) -> _WorkLine:
        with contextlib.suppress(IndexError):  # it has just ended
            self._line.work = self._works[-1]
        return self._line

    def _replace_line(self, stopped: threading.Event) -> None:
        assert self._replaced is not None
        while True:
            with self._printing:
                if stopped.is_set():
                    return
                work, width = self._current_line().work, self._console.width - 1
                self._replaced.show(_in_one_line(work)[:width])
            stopped.wait(SECONDS_UNTIL_REPLACED)

    def _print_lines(self, stopped: threading.Event) -> None:
        announced: Work | None = None
        while not stopped.wait(min(SECONDS_UNTIL_LINE, SECONDS_BETWEEN_LINES) / 4):
            work = self._current_line().work
            silent = time.perf_counter() - max(self._printed, work.started)
            if silent >= (SECONDS_BETWEEN_LINES if work is announced else SECONDS_UNTIL_LINE):
                announced = work
                self.print(Text(_in_one_line(work)), soft_wrap=True)

    def paragraph(self, text: str, before: str = "", indent: str = "", style: str = "") -> None:
        """Print a text of one line, wrapped on a terminal only, so that a pipe can be searched."""
        lines = wrap(before + text, self._console.width, indent) if self._redraws else [before + text]
        for line in lines:
            self.print(Text(line, style=style), soft_wrap=True)

    def _lines(self, text: str, style: str = "") -> None:
        for line in wrap(text, self._console.width - 4):
            self.print(Text("    " + line, style=style), soft_wrap=True)
