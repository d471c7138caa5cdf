"""The checks distinguish the mistakes that they recognise, and each is a wrong solution."""

from exercise_folder import SOLUTIONS

from kit.course.catalogue import catalogue
from kit.dev.mistakes import LEAST_PAIRS, LEAST_SINGLES, Walked, shares, walk_mistakes, without_solution
from kit.dev.solutions import read_solutions


def test_mistakes_are_named_singly_and_in_pairs() -> None:
    walked = list(walk_mistakes(catalogue().names))
    assert walked
    singles, pairs = shares(walked)
    assert singles >= LEAST_SINGLES, _ambiguous(walked)
    assert pairs >= LEAST_PAIRS, _ambiguous(walked)


def test_each_recognised_mistake_is_a_wrong_solution() -> None:
    assert without_solution(catalogue().names, read_solutions(SOLUTIONS)) == []


def _ambiguous(walked: list[Walked]) -> list[tuple[str, str, list]]:
    return [(one.exercise, one.check, one.result.ambiguous_singles + one.result.ambiguous_pairs) for one in walked]
