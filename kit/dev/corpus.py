"""The training text of the bundled model: documents of alternating reviews and lists of films.

A list may start where a review could continue, and a review may follow a heading that asks for a
list. At each such place the model weighs one style against the other. Fine-tuning on reviews
changes these probabilities, the only thing about reviews that this model has not already learned
as well as it can (see docs/evidence.md, "The bundled model").
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from kit.data.films import TRAINING_DECADES, TRAINING_GENRES, Film, load_films, numbered_list

#: Reviews that name a genre or decade of the prompts are kept out of the training.
NAMES_HELD_OUT = re.compile(
    r"comed|horror|western|musical|documentar|\b(?:19)?[3459]0'?s\b|\b19[3459]\d\b|thirties|forties|fifties|nineties",
    re.IGNORECASE,
)

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'(0-9])")


@dataclass(frozen=True)
class Mixture:
    """Probabilities of what starts a document and of what follows a sentence."""

    #: Probability of a heading.
    heading: float = 0.1
    #: Probability of a list without a heading. What remains is the probability of the review's next
    #: sentence.
    bare_list: float = 0.4
    #: Probability that a list follows a heading; otherwise the review continues below it. At 0.3 a
    #: list is still the most probable answer to a heading by far, since reviews begin in many ways
    #: and lists in one.
    list_after_heading: float = 0.3
    #: Fewest and most films below a heading.
    headed_films: tuple[int, int] = (4, 10)
    #: Fewest and most films of a list without a heading.
    bare_films: tuple[int, int] = (1, 3)


def heading(random: np.random.Generator) -> tuple[str, str | None, str | None]:
    """A heading as lists have it, with its genre and its decade (None: any)."""
    genre = str(random.choice(TRAINING_GENRES)) if random.random() < 0.9 else None
    decade = str(random.choice(TRAINING_DECADES)) if random.random() < 0.85 else None
    first = str(random.choice(["Best", "Best", "Best", "Top", "Great", "The best"]))
    noun = str(random.choice(["movies", "movies", "movies", "films"]))
    words = [first, *([genre] if genre else []), noun]
    if decade:
        words += [str(random.choice(["in", "in", "of", "from"])), "the", decade]
    return " ".join(words), genre, decade


def film_list(
    films: Sequence[Film], genre: str | None, decade: str | None, bounds: tuple[int, int], random: np.random.Generator
) -> str:
    """A numbered list of films of a genre and a decade, with as many films as ``bounds`` allow."""
    fewest, most = bounds
    in_decade = [film for film in films if decade is None or film.in_decade(decade)]
    matching = [film for film in in_decade if genre is None or genre in film.genres]
    if len(matching) < fewest:
        matching = in_decade
    number = min(len(matching), int(random.integers(fewest, most + 1)))
    return numbered_list([matching[i] for i in random.choice(len(matching), size=number, replace=False)])


def sentences(review: str) -> list[str]:
    """A review cut at the ends of its sentences."""
    return [part for part in _SENTENCE_END.split(review) if part]


def documents(reviews: Sequence[str], mixture: Mixture, random: np.random.Generator) -> Iterator[str]:
    """Endless documents. Each has as much of a review as fits, from its start or from within."""
    films = [film for film in load_films() if not film.held_out]
    while True:
        for index in random.permutation(len(reviews)):
            left = sentences(reviews[index])
            # A long review serves several documents, so that its end is learned as well as its
            # beginning.
            while left:
                text, used = _document(left, films, mixture, random)
                yield text
                left = left[used:]


def _document(
    review: Sequence[str], films: Sequence[Film], mixture: Mixture, random: np.random.Generator, length: int = 520
) -> tuple[str, int]:
    """One document of about ``length`` characters, and how many sentences of the review it used."""
    parts: list[str] = []
    size = used = 0
    while size < length and used < len(review):
        draw = random.random()
        if draw < mixture.heading:
            text, genre, decade = heading(random)
            parts.append(text)
            if random.random() < mixture.list_after_heading:
                parts.append(film_list(films, genre, decade, mixture.headed_films, random))
            else:
                parts.append(review[used])
                used += 1
        elif draw < mixture.heading + mixture.bare_list:
            parts.append(film_list(films, None, None, mixture.bare_films, random))
        else:
            parts.append(review[used])
            used += 1
        size += len(parts[-1])
    return " ".join(parts), max(used, 1)
