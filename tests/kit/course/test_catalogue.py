"""The catalogue of the course describes each exercise in full."""

import re

import pytest

from kit.course.catalogue import catalogue
from kit.judge.catalogue import LAYERS, Exercise

NAMES = catalogue().names


def test_the_exercises_are_in_the_order_of_their_numbers() -> None:
    numbers = [exercise.number for exercise in catalogue().everything]
    assert numbers == sorted(set(numbers))
    assert NAMES[:2] == ("mesh", "layout")


@pytest.mark.parametrize("exercise", catalogue().exercises, ids=lambda exercise: exercise.name)
def test_an_exercise_is_described(exercise: Exercise) -> None:
    assert exercise.title
    assert exercise.difficulty in (1, 2, 3)
    assert exercise.minutes > 0
    assert set(exercise.prerequisites) <= set(NAMES[: NAMES.index(exercise.name)])
    assert len(exercise.hints) == 3
    assert len(set(exercise.hints)) == 3
    assert all(len(hint) > 60 for hint in exercise.hints)


def test_cheap_layers_come_first() -> None:
    for exercise in catalogue().exercises:
        layers = [list(LAYERS).index(check.layer) for check in exercise.checks]
        assert layers == sorted(layers)
        assert len(layers) > len(exercise.functions)


def test_titles_of_checks_are_conditions() -> None:
    """A title stands beside FAILED, so it must not claim that all is well."""
    titles = [check.asks for exercise in catalogue().everything for check in exercise.checks]
    assert len(titles) > 80
    assert [title for title in titles if not re.search(r"\b(must|may)\b", title) or not title.endswith(".")] == []


def test_every_code_has_a_remedy() -> None:
    assert len(catalogue().codes) > 55
    assert not [code for code, entry in catalogue().codes.items() if not entry.remedy.endswith(".")]
