"""The style classifier: real texts of many kinds, and texts that models wrote."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kit.dev.style_accuracy import KindCounts, counts_by_kind
from kit.evidence.style import load_style_classifier, share_without_copies, shuffled_words
from kit.evidence.style_verdict import StyleVerdict

HERE = Path(__file__).parent
MODEL_TEXTS: list[dict[str, Any]] = json.loads((HERE / "model_texts.json").read_text(encoding="utf-8"))
#: What the classifier confuses more often with reviews than other texts: docs/evidence.md has the
#: figures.
HARD_KINDS = ("encyclopedia, about films", "joke")


@pytest.fixture(scope="module")
def counts() -> list[KindCounts]:
    return counts_by_kind(load_style_classifier())


@pytest.mark.style
class TestHeldOutTexts:
    def test_reviews(self, counts: list[KindCounts]) -> None:
        rows = {row.kind: row for row in counts if row.expected == "review"}
        assert rows["reviews, their start"].texts == 300
        assert rows["reviews, their start"].right >= 0.95
        # The middle of a review may be only about the plot.
        assert rows["reviews, any part"].right >= 0.93

    def test_lists_of_each_form(self, counts: list[KindCounts]) -> None:
        rows = [row for row in counts if row.expected == "list"]
        assert len(rows) == 10
        assert {row.kind: row.right for row in rows if row.right < 0.95} == {}

    def test_other_kinds(self, counts: list[KindCounts]) -> None:
        rows = [row for row in counts if row.expected == "neither"]
        assert sum(row.texts >= 30 for row in rows) >= 15
        assert sum(row.neither for row in rows) >= 0.95 * sum(row.texts for row in rows)
        wrong = {row.kind: 1 - row.right for row in rows if row.kind not in HARD_KINDS}
        assert {kind: share for kind, share in wrong.items() if share > 0.0501} == {}

    def test_degenerate_texts(self, counts: list[KindCounts]) -> None:
        (row,) = (row for row in counts if row.kind == "repetition")
        assert (row.texts, row.degenerate, row.neither) == (60, 60, 60)
        assert sum(row.degenerate for row in counts if row.expected != "neither") == 0

    def test_sources_have_a_licence(self) -> None:
        content = json.loads((HERE / "other_texts.json").read_text(encoding="utf-8"))
        assert {source["kind"] for source in content["sources"]} == set(content["texts"])
        assert all(source["licence"] for source in content["sources"])
        assert sum(source["number"] for source in content["sources"]) == sum(map(len, content["texts"].values()))


@pytest.mark.style
class TestTextsOfModels:
    @pytest.mark.parametrize(
        "quoted", [each for each in MODEL_TEXTS if each["style"] != "neither" or each["degenerate"]]
    )
    def test_lists_reviews_and_repetition(self, quoted: dict[str, Any]) -> None:
        verdict = load_style_classifier()(quoted["text"])
        assert (verdict.word, verdict.degenerate) == (quoted["style"], quoted["degenerate"])

    def test_other_texts(self) -> None:
        """Three stories in the first person and a philosophical text are called reviews."""
        others = [each for each in MODEL_TEXTS if each["style"] == "neither"]
        right = sum(load_style_classifier()(each["text"]).word == "neither" for each in others)
        assert len(others) == 13
        assert right >= 9


@pytest.mark.style
@pytest.mark.parametrize(
    ("text", "word", "degenerate"),
    [
        ("1. Aliens (1986) 2. Die Hard (1988) 3. Predator (1987)", "list", False),
        (
            "I saw this film with my sister, and we both thought that it was one of the best we had seen.",
            "review",
            False,
        ),
        ("the the the the the the the the the the the the", "neither", True),
        ("it of good the was and film a to see movie that not I very", "neither", False),
        ("Mix the flour with two eggs and bake for 20 minutes.", "neither", False),
        ("Mix the flour with two eggs …", "neither", False),
        ("1940s 1950s 1960s 1970s …", "neither", True),
        ("2010s horror movies 2010s horror movies", "neither", True),
        ("2010s 2020s 2030s", "neither", True),
        ("", "neither", True),
        ("I loved this movie. " * 8, "neither", True),
        ("My favorites are Clueless, Groundhog Day, The Big Lebowski and Wayne's World.", "list", False),
        (
            "This great film stars Bill Murray, Andie MacDowell and Chris Elliott, and I laughed all the time.",
            "review",
            False,
        ),
    ],
)
def test_clear_cases(text: str, word: str, degenerate: bool) -> None:
    verdict = load_style_classifier()(text)
    assert (verdict.word, verdict.degenerate) == (word, degenerate)


@pytest.mark.style
def test_repetition_is_reported() -> None:
    text = (
        "I have seen this movie in the first 10 minutes of my life. I was very disappointed with the movie "
        "and I was very disappointed. I was very disappointed with the movie and I was very disappointed."
    )
    verdict = load_style_classifier()(text)
    assert (verdict.word, verdict.repetitive, verdict.degenerate) == ("review", True, False)
    assert not load_style_classifier()("I saw this film with my sister, and we both liked it.").repetitive


def test_verdicts_of_older_runs() -> None:
    verdicts = [StyleVerdict("review", 0.9, 1.0, True), StyleVerdict("review", 0.9, -1.0, False)]
    assert [verdict.word for verdict in verdicts] == ["review", "neither"]


def test_copies_are_found() -> None:
    source = "One two three four five six seven eight nine ten."
    generations = ["two three four five six seven eight nine", "two three four five six seven and eight nine"]
    assert share_without_copies(generations, [source, "something else"]) == 0.5


def test_shuffling_keeps_the_words() -> None:
    text = "a b c d e f g h"
    shuffled = shuffled_words(text, np.random.default_rng(0))
    assert shuffled != text
    assert sorted(shuffled.split()) == text.split()
