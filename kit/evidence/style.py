"""The style of what a model writes: list or review, and fluent or not."""

import functools
import itertools
import json
import math
import operator
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kit.data.reviews import load_movie_reviews, split_of, without_markup
from kit.evidence.style_verdict import StyleVerdict
from kit.evidence.text_forms import is_degenerate, is_list, is_prose, repeats_itself

#: The weights of words and pairs of words, in hundredths, the coefficients and the bias.
STYLE_MODEL_FILE = Path(__file__).with_name("style_model.json")

#: Words per snippet for the classifier: about as many as a generation of 64 tokens has.
SNIPPET_WORDS = 40

_WORD = re.compile(r"[a-z]+(?:'[a-z]+)?|\d+|[.,!?();:\"-]")


def words(text: str) -> list[str]:
    """Lower-case words, numbers and punctuation marks in order."""
    return _WORD.findall(text.lower())


def word_features(text: str) -> set[str]:
    """The text's words, and its pairs of consecutive words."""
    found = words(text)
    return {*found, *(" ".join(pair) for pair in itertools.pairwise(found))}


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
    """Classifies texts as lists, reviews or neither. It has read no tuning or evaluation data.

    A list is recognized by its form. A review is prose that does not repeat itself, has the words
    and pairs of words of reviews, in an order that is typical of reviews.
    """

    #: Weights of words and pairs of words, by logistic regression.
    weights: Mapping[str, float]
    #: Coefficients of :meth:`measures`, by a second logistic regression, and its bias.
    coefficients: Sequence[float]
    bias: float
    bigrams: BigramModel
    #: The fluency that 98 of 100 real reviews reach.
    least_fluency: float

    def __call__(self, text: str) -> StyleVerdict:
        """The verdict on one text without its prompt."""
        probability, fluency = self.probability_of_review(text), self.bigrams.score(text)
        fluent, degenerate = fluency >= self.least_fluency, is_degenerate(text)
        style = "neither"
        if not degenerate and is_list(text):
            style = "list"
        elif not degenerate and probability >= 0.5 and fluent and is_prose(text):
            style = "review"
        return StyleVerdict(style, probability, fluency, fluent, degenerate, repeats_itself(text))

    def probability_of_review(self, text: str) -> float:
        """How probable a review is, by the text's words and their order."""
        products = map(operator.mul, self.coefficients, measures(text, self.weights, self.bigrams))
        return 1 / (1 + math.exp(-self.bias - sum(products)))


def measures(text: str, weights: Mapping[str, float], bigrams: BigramModel) -> tuple[float, float, float]:
    """What a review is recognized by.

    The weights of the text's words and pairs of words, the fluency, and the logarithm of the number
    of words.
    """
    found, features = words(text), word_features(text)
    known = sum(weights.get(feature, 0.0) for feature in features) / math.sqrt(max(1, len(features)))
    return known, max(-2.0, min(3.0, bigrams.score(text))), math.log(len(found) + 1)


def snippet(text: str, random: np.random.Generator, number: int = SNIPPET_WORDS) -> str:
    """``number`` consecutive words from a random position of the text."""
    parts = text.split(" ")
    start = int(random.integers(0, max(1, len(parts) - number + 1)))
    return " ".join(parts[start : start + number])


def shuffled_words(text: str, random: np.random.Generator) -> str:
    """The text with its words in random order, as a control."""
    parts = text.split()
    return " ".join(parts[i] for i in random.permutation(len(parts)))


def review_bigrams(seed: int = 0, number: int = 2000) -> tuple[BigramModel, float]:
    """A bigram model of ``2 * number`` real reviews, and the fluency that 98 % of others reach.

    They are of the split "pretraining".
    """
    random, reviews = np.random.default_rng(seed), load_movie_reviews()
    texts = (without_markup(reviews[i][0]) for i in random.permutation(len(reviews)))
    pool = list(itertools.islice((text for text in texts if split_of(text) == "pretraining"), 3 * number))
    bigrams = BigramModel(pool[number:])
    scores = [bigrams.score(snippet(text, random)) for text in pool[:number]]
    return bigrams, float(np.percentile(scores, 2))


@functools.cache
def load_style_classifier() -> StyleClassifier:
    """Read the weights, which ``kit dev style`` makes, and count pairs of words in reviews."""
    model = json.loads(STYLE_MODEL_FILE.read_text(encoding="utf-8"))
    weights = {feature: weight / 100 for feature, weight in model["weights"].items()}
    return StyleClassifier(weights, tuple(model["coefficients"]), model["bias"], *review_bigrams())


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
