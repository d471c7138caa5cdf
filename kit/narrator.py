"""The interface through which a command reports what it does."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field


@dataclass
class Work:
    """Something that takes time: what it is, and how much of it is done."""

    what: str
    #: What is done now, such as "812 modules"; a function is asked whenever it is shown.
    detail: str | Callable[[], str] = ""
    done: int = 0
    #: 0 if nothing can be counted.
    total: int = 0
    #: Writes a number of what is counted.
    as_text: Callable[[int], str] = "{:,}".format
    started: float = field(default_factory=time.perf_counter)

    def now(self, detail: str) -> None:
        """Say what is done now."""
        self.detail = detail

    def count(self, done: int, total: int, detail: str = "") -> None:
        """Say how much is done, of how much."""
        self.done, self.total, self.detail = done, total, detail

    def begin(self, what: str) -> None:
        """Begin something else, of which nothing is done yet."""
        self.what, self.detail, self.done, self.total, self.started = what, "", 0, 0, time.perf_counter()


def modules_so_far() -> str:
    """How many modules are imported: a detail that shows that an import continues."""
    return f"{len(sys.modules):,} modules"


@dataclass
class Narrator:
    """Receives the reports of a command and prints nothing; ``kit.cli.console`` prints."""

    #: Titles of the steps so far.
    titles: list[str] = field(default_factory=list)
    #: When the command began, by ``time.perf_counter``.
    started: float = field(default_factory=time.perf_counter)

    def step(self, title: str) -> None:
        """Begin a step."""
        self.titles.append(title)

    def say(self, text: str) -> None:
        """Report a sentence about the step."""

    def table(self, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Report a table of the step's evidence."""

    def text(self, text: str) -> None:
        """Report text that a model generated."""

    def progress(self, step: int, steps: int, mean_loss: float) -> None:
        """Report that a training step is done."""

    @contextlib.contextmanager
    def working(self, what: str, detail: str | Callable[[], str] = "") -> Iterator[Work]:
        """Show the time that something takes, and what its work says about it."""
        yield Work(what, detail)

    def stop_working(self) -> None:
        """Show no time any more, because the process ends at once; any thread may call it."""
