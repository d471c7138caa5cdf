"""The form of a text."""

import pytest

from kit.evidence.text_forms import is_degenerate, is_list, is_prose, is_title, new_pairs, repeats_itself


@pytest.mark.parametrize(
    "text",
    [
        "1. Clueless (1995) 2. Groundhog Day (1993) 3. The",
        "1) Clueless\n2) Groundhog Day",
        "(1) Clueless (2) Groundhog Day (3) The Mask",
        "- Clueless\n- Groundhog Day\n- The Mask",
        "* Clueless\n* Groundhog Day\n* The Mask",
        "\n\n1. **Clueless** (1995)\n2. **Groundhog Day** (1993)",
        "Here are three of the best:\n\n* **Clueless:** A girl in Beverly Hills helps a new student.\n"
        "* **Groundhog Day:** A man lives the same day again.\n* **The Mask:** A shy man finds a mask.",
        "• Clueless • Groundhog Day • The Mask",
        "Clueless\nGroundhog Day\nThe Mask\n1941",
        "Some good ones are Clueless, Groundhog Day, The Mask, and Wayne's World.",
        "They include 12 Monkeys, Dumb and Dumber, The Mask and What's Eating Gilbert Grape.",
        # A model may name a title again.
        "1. The Mask (1994) 2. The Land Before Time (1988) 3. The Land Before Time (1988)",
    ],
)
def test_lists(text: str) -> None:
    assert is_list(text)
    assert not is_degenerate(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I liked it. The plot, the acting, the music and the pictures were good.",
        "It stars Bill Murray, Andie MacDowell and Chris Elliott, who are all good in it, and I laughed a lot.",
        "1. Mix the flour with two eggs. 2. Bake it for ten minutes. 3. Let it cool down.",
        "1990s 2000s 2010s",
        '"Abe",\n"Abs",\n"Add",\n"Ade",',
        "Subject: Hello\nFrom: Ann\nTo: Bob\nDate: Monday",
        "1. The Mask 2. The Mask 3. The Mask 4. The Mask",
        "The first reason is 1. It is long. And then there is nothing else that I want to say about it today.",
    ],
)
def test_no_lists(text: str) -> None:
    assert not is_list(text)


def test_titles() -> None:
    assert all(map(is_title, ["Dumb and Dumber", "12 Monkeys", "The Good, the Bad and the Ugly", "Se7en"]))
    assert not any(map(is_title, ["it was good", "The film was very good", "1941", "Abe = 3", ""]))


def test_new_pairs() -> None:
    assert new_pairs("") == new_pairs("one") == new_pairs("one two") == 0.0
    assert new_pairs("one two three four") == 2 / 3
    assert new_pairs("one two three one two three") == 2 / 5
    # Digits are one: the only pair is (0s, 0s).
    assert new_pairs("1940s 1950s 1960s 1970s") == 0.0


def test_degenerate() -> None:
    sentence = "I liked the story and the music of this film."
    texts = ["", " ", "The", "the the", f"{sentence} " * 3, "1940s 1950s 1960s", "Best films of all time. " * 2]
    assert all(map(is_degenerate, texts))
    # A text that repeats a long part once has still something to say.
    assert not any(map(is_degenerate, [sentence, "Great movie", f"{sentence} {sentence} But the end was too long."]))


def test_repetition() -> None:
    assert repeats_itself("I was very disappointed with it, and I was very disappointed with it")
    assert not repeats_itself("I was very disappointed with it, and I was very glad")
    assert not repeats_itself("")


def test_prose() -> None:
    assert is_prose("I liked the story. I liked the music.")
    assert is_prose(
        "A paragraph is long, with many words in it, as it is here.\n\n"
        "Another one is as long, with as many words in it as that.\n\nThe end of it is near."
    )
    assert not is_prose("Hello.\nHow are you?\nFine.\nWhat is this?")
