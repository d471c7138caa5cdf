"""What the style classifier says about texts that it has not read, by kind."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from kit.data.films import Film, load_films
from kit.data.reviews import held_out_reviews
from kit.dev.style_texts import FEWEST_WORDS, HELD_OUT_FILE, MOST_WORDS
from kit.evidence.style import StyleClassifier, shuffled_words

#: The usual forms of a list. Each makes a text of films.
LIST_FORMS: dict[str, Callable[[Sequence[Film]], str]] = {
    "1. X (1990)": lambda films: " ".join(f"{number}. {film.line}" for number, film in enumerate(films, 1)),
    "1) X": lambda films: " ".join(f"{number}) {film.title}" for number, film in enumerate(films, 1)),
    "1. X, a line each": lambda films: "\n".join(f"{number}. {film.title}" for number, film in enumerate(films, 1)),
    "dashes": lambda films: "\n".join(f"- {film.title}" for film in films),
    "dashes in a line": lambda films: " ".join(f"- {film.line}" for film in films),
    "asterisks": lambda films: "\n".join(f"* {film.line}" for film in films),
    "Markdown": lambda films: (
        "\n\n" + "\n".join(f"{i}. **{film.title}** ({film.year})" for i, film in enumerate(films, 1))
    ),
    "bullets": lambda films: "Here are some of the best:\n" + "\n".join(f"• {film.line}" for film in films),
    "a sentence": lambda films: (
        f"My favorites are {', '.join(film.title for film in films[:-1])} and {films[-1].title}."
    ),
    "a title each line": lambda films: "\n".join(film.title for film in films),
}


@dataclass(frozen=True)
class KindCounts:
    """The verdicts on the texts of one kind."""

    kind: str
    #: What they are: "list", "review" or "neither".
    expected: str
    texts: int
    lists: int
    reviews: int
    degenerate: int

    @property
    def neither(self) -> int:
        """Texts that are called neither."""
        return self.texts - self.lists - self.reviews

    @property
    def right(self) -> float:
        """Share of the texts with the expected verdict."""
        return {"list": self.lists, "review": self.reviews, "neither": self.neither}[self.expected] / self.texts


def counts_by_kind(classify: StyleClassifier, number: int = 300, seed: int = 1) -> list[KindCounts]:
    """The verdicts on reviews, on lists of each form, and on the texts of other kinds.

    ``number`` is the number of held-out reviews; of each form there are a tenth as many lists.
    """
    random = np.random.default_rng(seed)
    reviews = held_out_reviews(number)
    openings = [_part(text, 0, random) for text in reviews]
    parts = [_part(text, None, random) for text in reviews]
    rows = [
        _row("reviews, their start", "review", openings, classify),
        _row("reviews, any part", "review", parts, classify),
    ]
    films = [film for film in load_films() if film.held_out]
    for form, write in LIST_FORMS.items():
        lists = [write(_some(films, random)) for _ in range(number // 10)]
        # As a limit on the tokens cuts them off.
        rows.append(_row(f"lists: {form}", "list", [_first_words(text, MOST_WORDS) for text in lists], classify))
    rows.append(_row("reviews, shuffled words", "neither", [shuffled_words(text, random) for text in parts], classify))
    content = json.loads(HELD_OUT_FILE.read_text(encoding="utf-8"))
    rows += [_row(kind, "neither", texts, classify) for kind, texts in content["texts"].items()]
    return [*rows, _row("repetition", "neither", repetitions(openings, films, number // 5, random), classify)]


def repetitions(reviews: Sequence[str], films: Sequence[Film], number: int, random: np.random.Generator) -> list[str]:
    """Degenerate texts: a phrase, part of a review, a title or a decade again and again."""
    made = ["", " ", "\n\n", "The", "1940s 1950s 1960s 1970s 1980s 1990s", "..."]
    while len(made) < number:
        words = str(random.choice(np.array(reviews, dtype=object))).split()
        title, year = _some(films, random)[0].title, int(random.integers(1900, 2000))
        made += [
            " ".join(words[: int(random.integers(1, 5))] * int(random.integers(5, 12))),
            " ".join(words[:12] * 3),
            "\n".join([title] * int(random.integers(4, 9))),
            " ".join(f"{number}. {title}" for number in range(1, int(random.integers(5, 9)))),
            " ".join(f"{year + step}s" for step in range(0, 10 * int(random.integers(4, 9)), 10)),
        ]
    return made[:number]


def _some(films: Sequence[Film], random: np.random.Generator) -> list[Film]:
    return [films[i] for i in random.choice(len(films), size=int(random.integers(4, 10)), replace=False)]


def _part(text: str, start: int | None, random: np.random.Generator) -> str:
    words, wanted = text.split(), int(random.integers(FEWEST_WORDS, MOST_WORDS + 1))
    first = int(random.integers(0, max(1, len(words) - wanted + 1))) if start is None else start
    return " ".join(words[first : first + wanted])


def _first_words(text: str, number: int) -> str:
    """The first words, with the white space between them."""
    lines, left = [], number
    for line in text.split("\n"):
        if left <= 0:
            break
        lines.append(" ".join(line.split()[:left]))
        left -= len(line.split())
    return "\n".join(lines)


def _row(kind: str, expected: str, texts: Sequence[str], classify: StyleClassifier) -> KindCounts:
    verdicts = [classify(text) for text in texts]
    return KindCounts(
        kind,
        expected,
        len(texts),
        sum(verdict.is_list for verdict in verdicts),
        sum(verdict.is_review for verdict in verdicts),
        sum(verdict.degenerate for verdict in verdicts),
    )
