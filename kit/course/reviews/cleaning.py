"""What becomes of the markup of a review, and what the usual mistakes make of it."""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

MARK = "<br />"


class Cleaning(NamedTuple):
    """A usual mistake."""

    #: What the solution does, as a sentence.
    headline: str
    remedy: str
    clean: Callable[[str], str]
    code: str = "REVIEWS_MARKUP_LEFT"


def cleaned(text: str) -> str:
    """The review with one space for each run of marks and the white space around it."""
    first, *rest = text.split(MARK)
    if not rest:
        return text
    *inner, last = rest
    return " ".join([first.rstrip(), *(piece.strip() for piece in inner if piece.strip()), last.lstrip()])


_RUN = "Search for the whole run of <br />, together with the white space around it, and replace it by one space."
MISTAKES = (
    Cleaning("Nothing is replaced.", "Use the text that your substitution returns: strings do not change.", str),
    Cleaning("Each <br /> becomes a space, and not each run.", _RUN, lambda text: text.replace(MARK, " ")),
    Cleaning(
        "Each run of <br /> becomes a space, and the white space around it stays.",
        _RUN,
        lambda text: re.sub(r"(<br />)+", " ", text),
    ),
    Cleaning(
        "Each <br />, with the white space around it, becomes a space, and not each run.",
        _RUN,
        lambda text: re.sub(r"\s*<br />\s*", " ", text),
    ),
    Cleaning(
        "Each <br /> is removed without a space in its place, so that words run together.",
        "Put one space where the run was.",
        lambda text: text.replace(MARK, ""),
    ),
    Cleaning(
        "Each run of <br /> is removed without a space in its place, so that words run together.",
        "Put one space where the run was.",
        lambda text: re.sub(r"\s*(<br />\s*)+", "", text),
    ),
    Cleaning(
        "Only the first <br /> of a review is replaced.",
        "Replace all runs: leave out the count.",
        lambda text: text.replace(MARK, " ", 1),
    ),
    Cleaning(
        "Only the pair <br /><br /> is replaced.",
        _RUN,
        lambda text: text.replace(MARK * 2, " "),
    ),
    Cleaning(
        "Each run of <br /> becomes a new line.",
        "Put one space where the run was.",
        lambda text: re.sub(r"\s*(<br />\s*)+", "\n", text),
    ),
    Cleaning(
        "All white space of the review is changed, and not only that around <br />.",
        "Leave white space that is not beside a <br /> unchanged.",
        lambda text: " ".join(text.replace(MARK, " ").split()),
        "NOT_AS_EXPECTED",
    ),
    Cleaning(
        "Each pair of angle brackets is removed with what is between them, and not only <br />.",
        "Search for <br /> itself: other text in angle brackets stays.",
        lambda text: re.sub(r"\s*(<.*?>\s*)+", " ", text),
        "NOT_AS_EXPECTED",
    ),
    Cleaning(
        "Other spellings, such as <br> or <BR />, are replaced as well, and not only <br />.",
        "Search for <br /> itself, with these letters: other markup stays.",
        lambda text: re.sub(r"\s*(<br\s*/?>\s*)+", " ", text, flags=re.IGNORECASE),
        "NOT_AS_EXPECTED",
    ),
    Cleaning(
        "Other spellings, such as <br> or <br/>, are replaced as well, and not only <br />.",
        "Search for <br /> itself: other markup stays.",
        lambda text: re.sub(r"\s*(<br\s*/?>\s*)+", " ", text),
        "NOT_AS_EXPECTED",
    ),
    Cleaning(
        "The letters of the review are changed to lower case.",
        "Leave the other text unchanged.",
        lambda text: cleaned(text).lower(),
        "NOT_AS_EXPECTED",
    ),
)


def same(found: str, expected: str) -> bool:
    """Whether two texts are equal, white space at their ends aside."""
    return found.strip() == expected.strip()


def recognised(found: Mapping[str, str]) -> Cleaning | None:
    """The mistake that makes these texts of these reviews; None if none of the usual ones does."""
    for mistake in MISTAKES:
        if all(same(text, mistake.clean(review)) for review, text in found.items()):
            return mistake
    return None
