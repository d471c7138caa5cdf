"""The style of what a model writes: list or review, by a judge trained on real text, and fluent or not."""

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

#: Words of a snippet that the judge sees: about as many as a generation of 64 tokens has.
SNIPPET_WORDS = 40

_WORD = re.compile(r"[a-z]+(?:'[a-z]+)?|\d+|[.,!?();:\"-]")


def words(text: str) -> list[str]:
    """Lower-case words, numbers and marks, in their order."""
    return _WORD.findall(text.lower())


class BigramModel:
    """How much better a text's words are predicted by the word before than without it.

    The likelihood of the words alone would not do: a text of frequent words in any order is likely. Their order is what
    tells a review from its words shuffled.
    """

    def __init__(self, texts: Iterable[str], weight: float = 0.8) -> None:
        """Count the words of ``texts``; ``weight`` is the share of pairs when interpolated with single words."""
        self.weight = weight
        self.single: Counter[str] = Counter()
        self.pairs: Counter[tuple[str, str]] = Counter()
        for text in texts:
            found = words(text)
            self.single.update(found)
            self.pairs.update(itertools.pairwise(found))
        self.total = sum(self.single.values())

    def score(self, text: str) -> float:
        """Mean of ``log p(word | word before) - log p(word)``, in nats a word; minus infinity without two words."""
        found = words(text)
        if len(found) < 2:
            return -math.inf
        gains = []
        for first, second in itertools.pairwise(found):
            alone = (self.single[second] + 1) / (self.total + len(self.single) + 1)
            after = self.pairs[first, second] / self.single[first] if self.single[first] else 0.0
            gains.append(math.log((self.weight * after + (1 - self.weight) * alone) / alone))
        return sum(gains) / len(gains)


@dataclass(frozen=True)
class Judge:
    """Tells lists from reviews. It has read neither what a run is tuned on nor what it is tested with."""

    classifier: Pipeline
    bigrams: BigramModel
    #: The fluency that 98 of 100 real reviews reach.
    least_fluency: float

    def __call__(self, text: str) -> StyleVerdict:
        """The verdict on one text, without its prompt."""
        probability = float(self.classifier.predict_proba([text])[0][1])
        fluency = self.bigrams.score(text)
        style = "review" if probability >= 0.5 else "list"
        return StyleVerdict(style, probability, fluency, fluency >= self.least_fluency)


def snippet(text: str, random: np.random.Generator, number: int = SNIPPET_WORDS) -> str:
    """``number`` words in a row from anywhere in the text."""
    parts = text.split(" ")
    start = int(random.integers(0, max(1, len(parts) - number + 1)))
    return " ".join(parts[start : start + number])


def shuffled_words(text: str, random: np.random.Generator) -> str:
    """The text with its words in another order: the control's reviews."""
    parts = text.split()
    return " ".join(parts[i] for i in random.permutation(len(parts)))


@functools.cache
def train_judge(seed: int = 0, number: int = 2000) -> Judge:
    """Train the judge on real reviews (those set aside for the bundled model's training) and on lists of real films.

    Args:
        seed: For the choice of snippets and films.
        number: Texts of each style.

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
        # Marks and numbers count as words do: "1." and "(1986)" are what makes a list.
        TfidfVectorizer(analyzer=words, sublinear_tf=True, min_df=2),
        LogisticRegression(C=10.0, max_iter=1000),
    )
    classifier.fit(lists + reviews, [0] * len(lists) + [1] * len(reviews))
    bigrams = BigramModel(pool[i] for i in order[number : 3 * number])
    scores = [bigrams.score(text) for text in reviews]
    return Judge(classifier, bigrams, float(np.percentile(scores, 2)))


@dataclass(frozen=True)
class JudgeAccuracy:
    """How often the judge is right on texts that it has not read."""

    #: Share of held-out real reviews called fluent reviews, and of held-out lists called lists.
    reviews: float
    lists: float
    #: Share of held-out reviews with shuffled words that are not called fluent reviews.
    shuffled: float
    #: Texts of each kind.
    number: int


def judge_accuracy(judge: Judge, number: int = 300, seed: int = 1) -> JudgeAccuracy:
    """Test the judge on held-out reviews and on lists of films whose genre or decade it has not seen."""
    random = np.random.default_rng(seed)
    reviews = [snippet(text, random) for text in held_out_reviews(number)]
    lists = [text.partition("1. ")[1] + text.partition("1. ")[2] for text in lists_of_held_out_films(number, seed)]
    shuffled = [shuffled_words(text, random) for text in reviews]
    return JudgeAccuracy(
        reviews=float(np.mean([judge(text).is_review for text in reviews])),
        lists=float(np.mean([judge(text).is_list for text in lists])),
        shuffled=float(np.mean([not judge(text).is_review for text in shuffled])),
        number=number,
    )


def ngrams(text: str, size: int) -> set[tuple[str, ...]]:
    """All runs of ``size`` words in the text."""
    found = words(text)
    return {tuple(found[start : start + size]) for start in range(len(found) - size + 1)}


def share_without_copies(generations: Sequence[str], sources: Iterable[str], size: int = 8) -> float:
    """Share of the generations that have no run of ``size`` words in common with any of the sources."""
    wanted = [ngrams(text, size) for text in generations]
    everything = set().union(*wanted) if wanted else set()
    # Only what is in some generation is kept of the sources, which may be long.
    copied = {gram for source in sources for gram in ngrams(source, size) & everything}
    return float(np.mean([not (grams & copied) for grams in wanted]))
