"""What the style classifier says about one text. Imports no framework."""

from dataclasses import dataclass

STYLES = ("list", "review", "neither")


@dataclass(frozen=True)
class StyleVerdict:
    """The style classifier's verdict on one text."""

    #: One of STYLES. The first versions of the kit had no "neither": they wrote "review" and
    #: ``fluent=False`` for a review's words in another order.
    style: str
    #: How probable a review is, by the text's words and pairs of words alone.
    probability_of_review: float
    #: Gain in log-likelihood per word from knowing the word before, by a bigram model of real
    #: reviews, in nats; minus infinity for fewer than two words.
    fluency: float
    #: Whether the text is as fluent as 98 of 100 real reviews; shuffled words are not.
    fluent: bool
    #: Whether it is empty or mostly repetition: then it is neither. Older runs did not ask.
    degenerate: bool = False
    #: Whether it has six words in a row twice. Lists and reviews may do so.
    repetitive: bool = False

    @property
    def is_review(self) -> bool:
        """Whether the text is a review."""
        return self.style == "review" and self.fluent

    @property
    def is_list(self) -> bool:
        """Whether the text is a list."""
        return self.style == "list"

    @property
    def word(self) -> str:
        """One of STYLES, also for the verdicts of older runs."""
        return "list" if self.is_list else "review" if self.is_review else "neither"
