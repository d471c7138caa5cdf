"""The style of what a model writes at one moment of a run. Imports no framework."""

from dataclasses import asdict, dataclass

from kit.evidence.style_verdict import StyleVerdict
from kit.run.generations import JudgedCompletion
from kit.run.result import LogLikelihoods, StyleScores


@dataclass(frozen=True)
class StyleEvidence:
    """The style of a model at one moment, as ``before.json`` has it."""

    #: The prompts' completions, with the prompts.
    completions: tuple[str, ...]
    #: The style classifier's verdict on each, without its prompt.
    verdicts: tuple[StyleVerdict, ...]
    #: Of held-out texts.
    scores: LogLikelihoods
    #: Of the run's own prompt.
    completion: str

    @property
    def lists(self) -> int:
        """How many completions are lists."""
        return sum(verdict.is_list for verdict in self.verdicts)

    @property
    def reviews(self) -> int:
        """How many completions are reviews."""
        return sum(verdict.is_review for verdict in self.verdicts)

    @property
    def neither(self) -> int:
        """How many completions are neither lists nor reviews."""
        return len(self.verdicts) - self.lists - self.reviews

    @property
    def degenerate(self) -> int:
        """How many completions are empty or mostly repetition."""
        return sum(verdict.degenerate for verdict in self.verdicts)

    @property
    def repetitive(self) -> int:
        """How many completions have six words in a row twice."""
        return sum(verdict.repetitive for verdict in self.verdicts)

    @property
    def style_scores(self) -> StyleScores:
        """As ``run.json`` has it."""
        number = len(self.verdicts)
        return StyleScores(
            self.lists / number, self.reviews / number, self.scores, self.degenerate / number, self.repetitive / number
        )

    @property
    def judged_completions(self) -> tuple[JudgedCompletion, ...]:
        """As ``generations.json`` has it."""
        pairs = zip(self.completions, self.verdicts, strict=True)
        return tuple(JudgedCompletion(text=text, **asdict(verdict)) for text, verdict in pairs)
