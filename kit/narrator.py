"""The interface through which a run reports its steps."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field


@dataclass
class Narrator:
    """Receives the reports of a run and prints nothing; ``kit.cli.console`` has one that prints."""

    #: Titles of the steps so far.
    titles: list[str] = field(default_factory=list)

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
    def working(self, what: str) -> Iterator[Callable[[str], None]]:
        """Show the time that something takes; call what it gives to report its progress."""
        yield lambda progress: None

    def stop_working(self) -> None:
        """Show no time any more, because the process ends at once; any thread may call it."""
