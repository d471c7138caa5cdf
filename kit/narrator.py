"""Who is told what a run does."""

from collections.abc import Sequence
from dataclasses import dataclass, field


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
