"""What the style classifier says about one text. Imports no framework."""

from dataclasses import dataclass


@dataclass(frozen=True)
class StyleVerdict:
    """The style classifier's verdict on one text."""

    #: "list" or "review", whichever is more probable.
    style: str
    #: The classifier's probability of "review".
    probability_of_review: float
    #: Gain in log-likelihood per word from knowing the word before, by a bigram model of real
    #: reviews, in nats; minus infinity for fewer than two words.
    fluency: float
    #: Whether the text is as fluent as 98 of 100 real reviews; shuffled words are not.
    fluent: bool

    @property
    def is_review(self) -> bool:
        """Whether classifier and fluency both say review: shuffled words do not."""
        return self.style == "review" and self.fluent

    @property
    def is_list(self) -> bool:
        """Whether the classifier says list."""
        return self.style == "list"

    @property
    def word(self) -> str:
        """One of "list", "review" and "neither": a review's words, but not in a review's order."""
        return "list" if self.is_list else "review" if self.is_review else "neither"
