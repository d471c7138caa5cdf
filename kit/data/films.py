"""Films and lists of films: the bundled model writes lists before it is tuned on reviews."""

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FILMS_FILE = Path(__file__).with_name("films.json")

#: Genres and decades in the headings of the pre-training corpus, and those kept for the prompts.
TRAINING_GENRES = ("action", "adventure", "drama", "thriller", "science fiction", "fantasy", "historical")
TRAINING_DECADES = ("60s", "70s", "80s", "2000s")
HELD_OUT_GENRES = ("comedy", "horror", "western", "musical", "documentary")
HELD_OUT_DECADES = ("90s", "50s", "40s", "30s")

_FIRST_YEAR = {"30s": 1930, "40s": 1940, "50s": 1950, "60s": 1960, "70s": 1970, "80s": 1980, "90s": 1990, "2000s": 2000}


@dataclass(frozen=True)
class Film:
    """A film in a list."""

    #: The title in printable ASCII.
    title: str
    year: int
    #: Those of the genres above that it belongs to; empty if the source names none.
    genres: tuple[str, ...]

    @property
    def line(self) -> str:
        """The film as an item of a list: ``Aliens (1986)``."""
        return f"{self.title} ({self.year})"

    def in_decade(self, decade: str) -> bool:
        """Whether the film was released in a decade such as ``90s``."""
        first = _FIRST_YEAR[decade]
        return first <= self.year < first + 10

    @property
    def held_out(self) -> bool:
        """Whether its genre or its decade is excluded from the bundled model's training."""
        of_genre = any(genre in HELD_OUT_GENRES for genre in self.genres)
        return of_genre or any(self.in_decade(decade) for decade in HELD_OUT_DECADES)


@functools.cache
def load_films() -> tuple[Film, ...]:
    """The kit's films: 3,158 titles of the package ``vega-datasets`` (BSD-3-Clause)."""
    rows = json.loads(FILMS_FILE.read_text(encoding="utf-8"))["films"]
    return tuple(Film(title, year, tuple(genres)) for title, year, genres in rows)


def numbered_list(films: Sequence[Film]) -> str:
    """``1. Aliens (1986) 2. Die Hard (1988)``: the films on one line, numbered from 1."""
    return " ".join(f"{number}. {film.line}" for number, film in enumerate(films, start=1))


def list_prompts() -> list[str]:
    """20 prompts that ask for a list, the tutorial's own first; the training has none of them."""
    return [f"Best {genre} movies in the {decade} " for genre in HELD_OUT_GENRES for decade in HELD_OUT_DECADES]


def lists_of_known_films(number: int, seed: int) -> list[str]:
    """Lists with headings, in new combinations, of films that the bundled model was trained on.

    Their likelihood measures how much a model prefers lists. The likelihood of unseen films would
    measure how unlikely unknown titles are, and for the bundled model it is lower before tuning
    (-4.71 nats per token) than after (-3.62).
    """
    return _lists(number, seed, TRAINING_GENRES, TRAINING_DECADES, [film for film in load_films() if not film.held_out])


def lists_of_held_out_films(number: int, seed: int) -> list[str]:
    """Lists of films whose genre or decade neither the model nor the classifier was trained on."""
    return _lists(number, seed, HELD_OUT_GENRES, HELD_OUT_DECADES, [film for film in load_films() if film.held_out])


def _lists(number: int, seed: int, genres: Sequence[str], decades: Sequence[str], films: Sequence[Film]) -> list[str]:
    """Lists of five to ten films; of any decade if a decade has fewer than five of a genre."""
    random = np.random.default_rng(seed)
    made = []
    for _ in range(number):
        genre, decade = str(random.choice(genres)), str(random.choice(decades))
        of_genre = [film for film in films if genre in film.genres]
        matching = [film for film in of_genre if film.in_decade(decade)]
        if len(matching) < 5:
            matching = of_genre
        size = min(len(matching), int(random.integers(5, 11)))
        chosen = [matching[i] for i in random.choice(len(matching), size=size, replace=False)]
        made.append(f"Best {genre} movies in the {decade} {numbered_list(chosen)}")
    return made
