"""Who is told what a run does, and how numbers are written for a person."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Narrator:
    """Is told what a run does and finds. This one keeps silent; the command line has one that prints."""

    titles: list[str] = field(default_factory=list)

    def step(self, title: str) -> None:
        """A step begins."""
        self.titles.append(title)

    def say(self, text: str) -> None:
        """A sentence about the step."""

    def table(self, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A table of the step's evidence."""

    def text(self, text: str) -> None:
        """Text that a model wrote."""

    def progress(self, step: int, steps: int, mean_loss: float) -> None:
        """A training step is done, of so many."""


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
