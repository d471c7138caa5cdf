"""The corpus of the bundled model."""

import re

import numpy as np

from kit.data.films import load_films
from kit.dev.corpus import NAMES_HELD_OUT, Mixture, documents


def test_the_corpus_has_no_word_of_the_prompts() -> None:
    """Over many documents, neither films nor headings have a held-out genre or decade."""
    texts = documents(["A plain review. It has two sentences."] * 50, Mixture(), np.random.default_rng(0))
    found = [next(texts) for _ in range(3000)]
    assert sum("1. " in text for text in found) > 1000
    assert sum("Best " in text for text in found) > 100
    held_out = {film.line for film in load_films() if film.held_out}
    listed = {item for text in found for item in re.findall(r"\b\d+\. (.+? \(\d{4}\))", text)}
    assert len(held_out) > 1000
    assert len(listed) > 1000
    assert not listed & held_out
    # A title may contain such a word, a heading may not.
    without_films = [re.sub(r"\b\d+\. .+? \(\d{4}\)", "", text) for text in found]
    assert not [text for text in without_films if NAMES_HELD_OUT.search(text)]
