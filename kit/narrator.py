"""The interface through which a run reports its steps, and numbers as text."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


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


def as_tuple(values: Sequence[Any]) -> str:
    """``(8, -, 16)``: None is a dash."""
    return "(" + ", ".join("-" if value is None else str(value) for value in values) + ")"


def as_count(number: int) -> str:
    """``1,311,872``."""
    return f"{number:,}"


def as_share(share: float) -> str:
    """``85%``."""
    return f"{share:.0%}"


def as_bytes(number: float) -> str:
    """``5.2 MB``, in powers of 1000."""
    for unit in ("B", "kB", "MB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.2f} GB"
