"""The style of what a model writes: list or review, and fluent or not."""

import functools
import itertools
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

from kit.data.films import lists_of_held_out_films, load_films, numbered_list
from kit.data.reviews import held_out_reviews, load_movie_reviews, split_of, without_markup
from kit.evidence.style_verdict import StyleVerdict

#: Words per snippet for the classifier: about as many as a generation of 64 tokens has.
SNIPPET_WORDS = 40

_WORD = re.compile(r"[a-z]+(?:'[a-z]+)?|\d+|[.,!?();:\"-]")


def words(text: str) -> list[str]:
    """Lower-case words, numbers and punctuation marks in order."""
    return _WORD.findall(text.lower())


class BigramModel:
    """Predicts each word of a text with the previous word, and without context.

    :meth:`score` is the mean gain in log-likelihood from predicting each word with the previous
    word instead of without context.

    The likelihood of single words is not enough: frequent words in any order are likely. Their
    order distinguishes a review from its shuffled words.
    """

    def __init__(self, texts: Iterable[str], weight: float = 0.8) -> None:
        """Count words and pairs of ``texts``; ``weight`` is that of pairs in the interpolation."""
        self.weight = weight
        self.single: Counter[str] = Counter()
        self.pairs: Counter[tuple[str, str]] = Counter()
        for text in texts:
            found = words(text)
            self.single.update(found)
            self.pairs.update(itertools.pairwise(found))
        self.total = sum(self.single.values())

    def score(self, text: str) -> float:
        """Mean of ``log p(word | previous word) - log p(word)`` in nats per word.

        Minus infinity for fewer than two words.
        """
        found = words(text)
        if len(found) < 2:
            return -math.inf
        gains = []
        for first, second in itertools.pairwise(found):
            unigram = (self.single[second] + 1) / (self.total + len(self.single) + 1)
            after = self.pairs[first, second] / self.single[first] if self.single[first] else 0.0
            gains.append(math.log((self.weight * after + (1 - self.weight) * unigram) / unigram))
        return sum(gains) / len(gains)


@dataclass(frozen=True)
class StyleClassifier:
    """Classifies texts as lists or reviews. It is not trained on tuning or evaluation data."""

    classifier: Pipeline
    bigrams: BigramModel
    #: The fluency that 98 of 100 real reviews reach.
    least_fluency: float

    def __call__(self, text: str) -> StyleVerdict:
        """The verdict on one text without its prompt."""
        probability = float(self.classifier.predict_proba([text])[0][1])
        fluency = self.bigrams.score(text)
        style = "review" if probability >= 0.5 else "list"
        return StyleVerdict(style, probability, fluency, fluency >= self.least_fluency)


def snippet(text: str, random: np.random.Generator, number: int = SNIPPET_WORDS) -> str:
    """``number`` consecutive words from a random position of the text."""
    parts = text.split(" ")
    start = int(random.integers(0, max(1, len(parts) - number + 1)))
    return " ".join(parts[start : start + number])


def shuffled_words(text: str, random: np.random.Generator) -> str:
    """The text with its words in random order, as a control."""
    parts = text.split()
    return " ".join(parts[i] for i in random.permutation(len(parts)))


@functools.cache
def train_style_classifier(seed: int = 0, number: int = 2000) -> StyleClassifier:
    """Train the classifier on real reviews of the split "pretraining" and on lists of real films.

    ``number`` is the number of texts per style; the seed is for the choice of snippets and films.
    """
    random = np.random.default_rng(seed)
    pool = [without_markup(text) for text, _ in load_movie_reviews() if split_of(text) == "pretraining"]
    order = random.permutation(len(pool))
    reviews = [snippet(pool[i], random) for i in order[:number]]
    films = [film for film in load_films() if not film.held_out]
    lists = [
        snippet(numbered_list([films[i] for i in random.choice(len(films), size=8, replace=False)]), random)
        for _ in range(number)
    ]
    classifier = make_pipeline(
        # Punctuation and numbers count as words: "1." and "(1986)" characterize a list.
        TfidfVectorizer(analyzer=words, sublinear_tf=True, min_df=2),
        LogisticRegression(C=10.0, max_iter=1000),
    )
    classifier.fit(lists + reviews, [0] * len(lists) + [1] * len(reviews))
    bigrams = BigramModel(pool[i] for i in order[number : 3 * number])
    scores = [bigrams.score(text) for text in reviews]
    return StyleClassifier(classifier, bigrams, float(np.percentile(scores, 2)))


@dataclass(frozen=True)
class StyleClassifierAccuracy:
    """The classifier's accuracy on texts that it was not trained on."""

    #: Share of held-out reviews classified as fluent reviews, and of held-out lists as lists.
    reviews: float
    lists: float
    #: Share of held-out reviews with shuffled words not classified as fluent reviews.
    shuffled: float
    #: Texts per kind.
    number: int


def style_classifier_accuracy(classify: StyleClassifier, number: int = 300, seed: int = 1) -> StyleClassifierAccuracy:
    """Test it on held-out reviews and on lists of films of held-out genres or decades."""
    random = np.random.default_rng(seed)
    reviews = [snippet(text, random) for text in held_out_reviews(number)]
    lists = [text.partition("1. ")[1] + text.partition("1. ")[2] for text in lists_of_held_out_films(number, seed)]
    shuffled = [shuffled_words(text, random) for text in reviews]
    return StyleClassifierAccuracy(
        reviews=float(np.mean([classify(text).is_review for text in reviews])),
        lists=float(np.mean([classify(text).is_list for text in lists])),
        shuffled=float(np.mean([not classify(text).is_review for text in shuffled])),
        number=number,
    )


def ngrams(text: str, size: int) -> set[tuple[str, ...]]:
    """All sequences of ``size`` consecutive words in the text."""
    found = words(text)
    return {tuple(found[start : start + size]) for start in range(len(found) - size + 1)}


def share_without_copies(generations: Sequence[str], sources: Iterable[str], size: int = 8) -> float:
    """Share of the generations that share no ``size`` consecutive words with any source."""
    wanted = [ngrams(text, size) for text in generations]
    everything = set().union(*wanted) if wanted else set()
    # The sources may be long: keep only what is in some generation.
    copied = {gram for source in sources for gram in ngrams(source, size) & everything}
    return float(np.mean([not (grams & copied) for grams in wanted]))
