"""Which completions are shown as one."""

from typing import Any

from kit.evidence.style_verdict import StyleVerdict
from kit.report.completions import JudgedPrompt, JudgedText, folded


def judged(before: str, after: str, style: str = "review") -> JudgedPrompt:
    def text(continuation: str, style: str) -> JudgedText:
        return JudgedText(continuation, StyleVerdict(style, 0.5, 1.0, True))

    return JudgedPrompt("Films ", text(before, "list"), text(after, style))


def numbers(rows: list[Any]) -> list[tuple[int, ...]]:
    return [tuple(number for number, _ in row.prompts) for row in rows]


def test_completions_that_end_earlier_are_the_same() -> None:
    rows = folded([judged("1. One", "I liked"), judged("1. One (19", "I like"), judged("1. Two", "I liked it")])
    assert numbers(rows) == [(1, 2), (3,)]
    assert (rows[0].before.continuation, rows[0].after.continuation) == ("1. One (19", "I liked")
    assert [row.cut for row in rows] == [True, False]


def test_what_is_not_the_same() -> None:
    """Nothing is the beginning of everything, and another verdict needs its own place."""
    assert numbers(folded([judged("1. One", ""), judged("1. One", "I liked it")])) == [(1,), (2,)]
    assert numbers(folded([judged("1. One", "I like"), judged("1. One", "I liked it", "neither")])) == [(1,), (2,)]
    # Both begin as the first does, and differ from each other.
    both = [judged("1. One", "I like"), judged("1. One", "I like it"), judged("1. One", "I like her")]
    assert numbers(folded(both)) == [(1, 2), (3,)]
    assert numbers(folded([judged("1. One", ""), judged("1. One", "")])) == [(1, 2)]
