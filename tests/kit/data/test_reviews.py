"""Sources of reviews, and their splits."""

import itertools
from pathlib import Path

import pytest

from kit.data.reviews import (
    held_out_reviews,
    load_movie_reviews,
    load_reviews,
    read_movie_reviews,
    split_of,
    tuning_examples,
    without_markup,
)
from kit.errors import UserError


def test_the_package_has_the_imdb_train_split() -> None:
    examples = load_movie_reviews()
    assert len(examples) == 25_000
    labels = [label for _, label in examples]
    assert labels.count(0) == labels.count(1) == 12_500
    # It is sorted by label: a run shuffles before it takes a part.
    assert sum(first != second for first, second in itertools.pairwise(labels)) == 1
    assert sum("<br />" in text for text, _ in examples) == 14_665


def test_another_file_is_refused(tmp_path: Path) -> None:
    changed = tmp_path / "combined_movie_reviews.csv"
    changed.write_text("text,label,source\ngood,1,imdb\n")
    with pytest.raises(UserError, match=r"SHA-256 .* should have d4acac55fe7f"):
        read_movie_reviews(changed)


def test_a_file_of_reviews(tmp_path: Path) -> None:
    file = tmp_path / "reviews.txt"
    file.write_text("First, naïve review.\n\n  Second\u2028review, with a separator within.\n", encoding="utf-8")
    assert load_reviews(f"file:{file}") == [
        ("First, naïve review.", -1),
        ("Second\u2028review, with a separator within.", -1),
    ]


def test_splits_do_not_overlap() -> None:
    examples = load_movie_reviews()
    everything = {without_markup(text) for text, _ in examples}
    bundled = {without_markup(text) for text, _ in tuning_examples(examples, keep_pretraining_out=True)}
    others = {without_markup(text) for text, _ in tuning_examples(examples, keep_pretraining_out=False)}
    held_out = set(held_out_reviews(10**6))
    pretraining = {text for text in everything if split_of(text) == "pretraining"}
    assert 2_000 < len(held_out) < 3_000
    assert 6_000 < len(bundled) < 8_000
    assert not held_out & (bundled | others | pretraining)
    assert not bundled & pretraining
    assert others == everything - held_out
    # The recipe reads reviews with single spaces, so the split must not depend on other white
    # space, which 334 reviews have.
    assert not {" ".join(text.split()) for text in bundled | held_out} & {
        " ".join(text.split()) for text in pretraining
    }
    assert sum(" ".join(text.split()) != text for text in everything) == 334
    for text in everything:
        assert split_of(" ".join(text.split())) == split_of(text)
    # The user's own texts belong to no split.
    assert tuning_examples([("Mine alone.", -1)], keep_pretraining_out=True) == [("Mine alone.", -1)]
