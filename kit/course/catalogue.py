"""The catalogue of the course, from the folders of the exercises. Imports no framework."""

import functools
import importlib
from pathlib import Path

from kit.judge.catalogue import Catalogue, Exercise

FOLDER = Path(__file__).parent


@functools.cache
def catalogue() -> Catalogue:
    """All exercises, in the order of their numbers; each folder with an ``exercise.py`` is one."""
    found: list[Exercise] = [
        importlib.import_module(f"kit.course.{file.parent.name}.exercise").EXERCISE
        for file in sorted(FOLDER.glob("*/exercise.py"))
    ]
    for exercise in found:
        _expect_own_codes(exercise, found)
    return Catalogue(
        "kit.course.catalogue:catalogue",
        "kit.course",
        FOLDER,
        tuple(sorted(found, key=lambda exercise: exercise.number)),
    )


def _expect_own_codes(exercise: Exercise, exercises: list[Exercise]) -> None:
    for other in exercises:
        if other is not exercise and (both := exercise.codes.keys() & other.codes.keys()):
            raise ValueError(f"{exercise.name} and {other.name} both define {', '.join(sorted(both))}")
