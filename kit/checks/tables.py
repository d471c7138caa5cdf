"""Evidence tables of the checks: one row for similar layers, and a limit on the rows."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

#: Rows of a table. The rest is counted in the last row.
MOST_ROWS = 40

Row = tuple[Any, ...]


class Sized(Protocol):
    """A variable, as ``VariableInfo`` and ``Placement`` describe it."""

    @property
    def path(self) -> str:
        """As layout maps see it."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the whole variable."""

    @property
    def nbytes(self) -> int:
        """Bytes of the whole variable."""


@dataclass(frozen=True)
class Group:
    """Variables of one shape whose paths differ only in a number, such as that of the layer."""

    #: The path, with ``*`` for the number.
    label: str
    count: int
    shape: tuple[int, ...]
    #: Bytes of all of them together.
    nbytes: int


def grouped(variables: Iterable[Sized]) -> list[Group]:
    """Variables by path without numbers and by shape; the group with most bytes first."""
    members: dict[tuple[str, tuple[int, ...]], list[Sized]] = {}
    for variable in variables:
        members.setdefault((re.sub(r"\d+", "*", variable.path), variable.shape), []).append(variable)
    groups = []
    for (_, shape), alike in members.items():
        columns = zip(*(re.split(r"(\d+)", variable.path) for variable in alike), strict=True)
        label = "".join(column[0] if len(set(column)) == 1 else "*" for column in columns)
        groups.append(Group(label, len(alike), shape, sum(variable.nbytes for variable in alike)))
    return sorted(groups, key=lambda group: -group.nbytes)


def limited(rows: Sequence[Row]) -> list[Row]:
    """At most :data:`MOST_ROWS` rows, of which the last counts what is left out."""
    if len(rows) <= MOST_ROWS:
        return list(rows)
    empty = ["" for _ in rows[0][1:]]
    return [*rows[: MOST_ROWS - 1], (f"and {len(rows) - MOST_ROWS + 1} more", *empty)]
