"""The style classifier."""

import numpy as np
import pytest

from kit.evidence.style import share_without_copies, shuffled_words, style_classifier_accuracy, train_style_classifier


@pytest.mark.style
class TestStyleClassifier:
    def test_accuracy_on_held_out_texts(self) -> None:
        accuracy = style_classifier_accuracy(train_style_classifier())
        assert accuracy.number == 300
        assert accuracy.reviews >= 0.95
        assert accuracy.lists >= 0.95
        assert accuracy.shuffled >= 0.95

    @pytest.mark.parametrize(
        ("text", "is_list", "is_review"),
        [
            ("1. Aliens (1986) 2. Die Hard (1988) 3. Predator (1987)", True, False),
            (
                "I saw this film with my sister, and we both thought that it was one of the best we had seen.",
                False,
                True,
            ),
            ("the the the the the the the the the the the the", False, False),
            ("it of good the was and film a to see movie that not I very", False, False),
        ],
    )
    def test_clear_cases(self, text: str, is_list: bool, is_review: bool) -> None:
        verdict = train_style_classifier()(text)
        assert (verdict.is_list, verdict.is_review) == (is_list, is_review)

    def test_copies_are_found(self) -> None:
        source = "One two three four five six seven eight nine ten."
        generations = ["two three four five six seven eight nine", "two three four five six seven and eight nine"]
        assert share_without_copies(generations, [source, "something else"]) == 0.5

    def test_shuffling_keeps_the_words(self) -> None:
        text = "a b c d e f g h"
        shuffled = shuffled_words(text, np.random.default_rng(0))
        assert shuffled != text
        assert sorted(shuffled.split()) == text.split()
