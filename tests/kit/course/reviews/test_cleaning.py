"""The check's reviews distinguish the mistakes that it recognises."""

from itertools import combinations

import pytest

from kit.course.reviews.checks import REVIEWS
from kit.course.reviews.cleaning import MISTAKES, Cleaning, cleaned, recognised, same


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.headline)
def test_each_mistake_is_recognised(mistake: Cleaning) -> None:
    assert recognised({review: mistake.clean(review) for review in REVIEWS}) is mistake


def test_mistakes_and_the_right_texts_differ() -> None:
    assert recognised({review: cleaned(review) for review in REVIEWS}) is None
    for first, second in combinations(MISTAKES, 2):
        assert not all(same(first.clean(review), second.clean(review)) for review in REVIEWS)


@pytest.mark.parametrize(
    ("review", "expected"),
    [
        ("Good.<br /><br />Very.", "Good. Very."),
        ("Good. <br />\n<br /> Very.", "Good. Very."),
        ("A<br />B<br /> <br />C", "A B C"),
        ("2 < 3,  <b>bold</b>", "2 < 3,  <b>bold</b>"),
    ],
)
def test_runs_become_one_space(review: str, expected: str) -> None:
    assert cleaned(review) == expected
