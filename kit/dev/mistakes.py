"""How well the checks distinguish the mistakes that they recognise."""

import importlib
import importlib.util
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from kit.course.catalogue import catalogue
from kit.dev.solutions import Solution
from kit.judge.mistakes import Distinguished, MistakeTable, distinguish

#: The least share of single mistakes, and of pairs, whose headline names them.
LEAST_SINGLES, LEAST_PAIRS = 0.95, 0.80


@dataclass(frozen=True)
class Walked:
    """The mistakes of one check, compared with each other."""

    exercise: str
    check: str
    result: Distinguished

    def as_row(self) -> str:
        """A row of the report."""
        result = self.result
        return (
            f"{self.exercise:<10} {self.check:<20} {result.singles:>3} mistakes {100 * result.single_share:5.0f} %"
            f" {result.pairs:>4} pairs {100 * result.pair_share:5.0f} %"
        )


def mistake_tables(exercises: Iterable[str]) -> Iterator[tuple[str, str, MistakeTable]]:
    """Exercise, check and table of each check that recognises mistakes."""
    for exercise in exercises:
        module = f"{catalogue().package}.{exercise}.mistakes"
        if importlib.util.find_spec(module) is not None:
            for check, table in importlib.import_module(module).TABLES.items():
                yield exercise, check, table()


def walk_mistakes(exercises: Iterable[str]) -> Iterator[Walked]:
    """Compare all mistakes of these exercises, singly and in pairs."""
    for exercise, check, table in mistake_tables(exercises):
        yield Walked(exercise, check, distinguish(table))


def shares(walked: Iterable[Walked]) -> tuple[float, float]:
    """The shares of single mistakes and of pairs that are named, over all checks."""
    results = [one.result for one in walked]
    singles, pairs = (sum(getattr(one, what) for one in results) for what in ("singles", "pairs"))
    named = sum(one.singles * one.single_share for one in results), sum(one.pairs * one.pair_share for one in results)
    return named[0] / singles, named[1] / pairs


def without_solution(exercises: Iterable[str], solutions: Iterable[Solution]) -> list[str]:
    """The mistakes that no wrong solution makes alone."""
    made = {(solution.exercise, *solution.mistakes) for solution in solutions}
    return [
        f"{exercise}: {mistake.name}"
        for exercise, _, table in mistake_tables(exercises)
        for mistake in table.mistakes
        if (exercise, mistake.name) not in made
    ]
