"""Recognised mistakes: what each usual mistake would have given, on the data of a check.

A check that compares numbers has a table of named mistakes. Its oracle computes the values that a
mistake, or a pair of them, gives on the same data; learner code is never asked. Values that equal
one of them within the check's tolerance name the cause: that mistake is the headline, with its
remedy and its section of the lesson.

``kit/course/<exercise>/mistakes.py`` has ``TABLES``: name of a check -> a function that makes its
table.
"""

import itertools
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from kit.checks.diagnosis import Failed

#: Label -> a number that the check compares.
Values = Mapping[str, float]
#: Names of the mistakes that were made together; empty for the right solution.
Names = frozenset[str]
RIGHT: Names = frozenset()
#: Values of two hypotheses that differ by less than this many tolerances cannot be distinguished.
APART = 10.0
_ROWS = 8


@dataclass(frozen=True)
class Mistake:
    """A mistake that a check recognises by its values."""

    #: Such as "targets_not_shifted".
    name: str
    #: The code of its diagnosis.
    code: str
    #: What the solution does, as a sentence with a full stop.
    headline: str
    #: What to do, as a sentence.
    remedy: str
    #: The section that explains it, as ``lesson#Section``; empty for that of the code.
    anchor: str = ""


@dataclass(frozen=True)
class MistakeTable:
    """The mistakes that one check recognises."""

    mistakes: Sequence[Mistake]
    #: The values that these mistakes give together; None if they cannot be made together for
    #: another reason than ``exclusive``.
    compute: Callable[[Names], Values | None]
    #: Largest relative difference of equal values. Counts and bytes have 0.
    relative: float
    #: Largest absolute difference of equal values; it is added to the relative one.
    absolute: float = 0.0
    #: Of each group at most one mistake can be made.
    exclusive: Sequence[Collection[str]] = ()
    _computed: dict[Names, Values | None] = field(default_factory=dict, repr=False)

    def values(self, names: Names = RIGHT) -> Values | None:
        """What these mistakes give together, or None; computed once."""
        if names not in self._computed:
            possible = all(len(names.intersection(group)) < 2 for group in self.exclusive)
            self._computed[names] = self.compute(names) if possible else None
        return self._computed[names]

    @property
    def right(self) -> Values:
        """What a right solution gives."""
        found = self.values()
        assert found, "the oracle has no values to compare with"
        return found

    def distance(self, found: Values, expected: Values) -> float:
        """The largest difference of two values, in tolerances: up to 1 they are equal."""
        if found.keys() != expected.keys():
            return math.inf
        return max(self._distance(found[label], value) for label, value in expected.items())

    def _distance(self, found: float, expected: float) -> float:
        if found == expected:
            return 0.0
        allowed = self.relative * max(abs(found), abs(expected)) + self.absolute
        difference = abs(found - expected)
        return difference / allowed if allowed and math.isfinite(difference) else math.inf

    def is_right(self, found: Values) -> bool:
        """Whether the values are those of a right solution."""
        return self.distance(found, self.right) <= 1

    def sets(self, size: int) -> Iterator[Names]:
        """The combinations of ``size`` mistakes that can be made together."""
        for names in itertools.combinations([mistake.name for mistake in self.mistakes], size):
            if self.values(frozenset(names)) is not None:
                yield frozenset(names)

    def recognise(self, found: Values) -> list[Names]:
        """The mistakes, or else the pairs of them, that give these values; empty if none does."""
        for size in (1, 2):
            matching = [names for names in self.sets(size) if self.distance(found, self.values(names) or {}) <= 1]
            if matching:
                return matching
        return []

    def failure(self, found: Values, code: str, cause: str, remedy: str = "") -> Failed:
        """The diagnosis of wrong values.

        ``code``, ``cause`` and ``remedy`` are for values that no known mistake gives.
        """
        if recognised := self.recognised_failure(found):
            return recognised
        number = len(self.mistakes)
        cause = f"{cause} None of the {number} usual mistakes that this check knows gives these values."
        rows = [(label, _shown(self.right.get(label)), _shown(found.get(label))) for label in {**self.right, **found}]
        return Failed(code, cause, ("", "expected", "yours"), rows[:_ROWS], remedy)

    def recognised_failure(self, found: Values) -> Failed | None:
        """The diagnosis that names the mistakes; None if no known mistake gives these values."""
        matching = self.recognise(found)
        if not matching:
            return None
        by_name = {mistake.name: mistake for mistake in self.mistakes}
        # Where several explain the values, the first two are named: the others are rarer.
        made = [[by_name[name] for name in _in_order(names, by_name)] for names in matching[:2]]
        first = made[0][0]
        with_mistake = self.values(matching[0]) or {}
        rows = [
            (label, _shown(value), _shown(with_mistake[label]), _shown(found[label]))
            for label, value in self.right.items()
        ]
        return Failed(
            first.code,
            " Or: ".join(_headline(mistakes) for mistakes in made),
            ("", "expected", "with this mistake" if len(made[0]) == 1 else "with both mistakes", "yours"),
            rows[:_ROWS],
            " ".join(dict.fromkeys(mistake.remedy for mistakes in made for mistake in mistakes)),
            first.anchor,
            mistakes=[mistake.name for mistake in made[0]],
        )


@dataclass(frozen=True)
class Distinguished:
    """How well a table distinguishes mistakes."""

    singles: int
    pairs: int
    #: Sets of mistakes whose values are too near to those of others.
    ambiguous_singles: list[tuple[Names, Names]]
    ambiguous_pairs: list[tuple[Names, Names]]

    @property
    def single_share(self) -> float:
        """The share of single mistakes whose headline names them, and nothing else."""
        return 1 - len({names for names, _ in self.ambiguous_singles}) / self.singles

    @property
    def pair_share(self) -> float:
        """The share of pairs whose headline names both."""
        return 1 - len({names for names, _ in self.ambiguous_pairs}) / self.pairs if self.pairs else 1.0


def distinguish(table: MistakeTable) -> Distinguished:
    """Compare the values of all mistakes, of their pairs and of the right solution pairwise.

    A pair that gives the values of one of its own two mistakes counts as ambiguous, too: the
    headline names one fault, and the other is found after it is fixed.
    """
    singles, pairs = list(table.sets(1)), list(table.sets(2))
    hypotheses = [RIGHT, *singles, *pairs]
    found: dict[int, list[tuple[Names, Names]]] = {1: [], 2: []}
    for names in (*singles, *pairs):
        for other in hypotheses:
            if other == names or len(other) > len(names):
                continue
            if table.distance(table.values(names) or {}, table.values(other) or {}) < APART:
                found[len(names)].append((names, other))
                break
    return Distinguished(len(singles), len(pairs), found[1], found[2])


def _in_order(names: Names, by_name: Mapping[str, Mistake]) -> list[str]:
    return [name for name in by_name if name in names]


def _headline(mistakes: Sequence[Mistake]) -> str:
    if len(mistakes) == 1:
        return mistakes[0].headline
    return "Two mistakes at once. " + " ".join(
        f"{number}. {mistake.headline}" for number, mistake in enumerate(mistakes, 1)
    )


def _shown(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.7g}"
