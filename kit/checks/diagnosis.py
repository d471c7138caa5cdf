"""A diagnosis: what is wrong with a solution, the evidence, and what to try."""

import re
import shutil
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from kit.checks.codes import COMMON_CODES, NO_VERDICT, NOT_IMPLEMENTED
from kit.formatting import inert, shortened

WIDTH = 112
_WHOLE_WORDS: dict[str, Any] = {"break_on_hyphens": False, "break_long_words": False}
#: Characters that a column of a table keeps, however narrow the terminal is.
LEAST_COLUMN = 8


@dataclass(frozen=True)
class Diagnosis:
    """Why a solution is not right."""

    #: Stable: one of :data:`kit.checks.codes.COMMON_CODES`, or of the exercise's own codes.
    code: str
    #: One sentence.
    cause: str
    #: The evidence: a small table with at least one value that was computed from this submission.
    headings: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    #: What to try, in one sentence. If it is empty, the engine fills in that of the code.
    remedy: str = ""
    #: Lesson and section that explain it, for example ``layout#Rules``. The engine fills it in.
    anchor: str = ""
    #: Names of the recognised mistakes that give the values of this submission.
    mistakes: tuple[str, ...] = ()
    #: File in the solution's folder and line, for example ``mesh.py:17``; empty if unknown.
    location: str = field(default="", compare=False)

    @property
    def is_no_verdict(self) -> bool:
        """Whether nobody knows if the solution is right: it could not be read or judged."""
        return self.code in NO_VERDICT

    def as_dict(self) -> dict[str, Any]:
        """For a pipe or a report."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "Diagnosis":
        """The diagnosis from :meth:`as_dict`; JSON of older versions has "advice" for "remedy".

        A process that ran a learner's code may have written it, so all texts are made inert. Raises
        KeyError, TypeError or ValueError for anything else.
        """
        if not re.fullmatch(r"[A-Z][A-Z0-9_]*", content["code"]):
            raise ValueError("a code is in capitals")
        headings, *rows = (tuple(map(inert, row)) for row in (content["headings"], *content["rows"]))
        if any(len(row) != len(headings) for row in rows):
            raise ValueError("a row has as many cells as there are headings")
        return cls(
            content["code"],
            inert(content["cause"]),
            headings,
            tuple(rows),
            inert(content.get("remedy", content.get("advice", ""))),
            inert(content.get("anchor", "")),
            tuple(map(inert, content.get("mistakes", ()))),
            inert(content.get("location", "")),
        )

    def for_terminal(self, exercise: str = "") -> str:
        """The diagnostic as text that fits the terminal, or :meth:`as_text` without one."""
        columns = shutil.get_terminal_size((0, 0)).columns
        if not columns:
            return self.as_text(exercise)
        text = self.as_text(exercise, min(WIDTH, columns), columns)
        return textwrap.fill(text, columns, **_WHOLE_WORDS) if self.code == NOT_IMPLEMENTED else text

    def as_text(self, exercise: str = "", width: int = WIDTH, table_width: int | None = None) -> str:
        """The diagnostic as text: code, cause, evidence, remedy and section of the lesson.

        Without an exercise the section is left out. Sentences are wrapped at ``width`` characters.
        With ``table_width`` the cells of wide tables are shortened, paths in their middle.
        """
        if self.code == NOT_IMPLEMENTED:
            return f"{self.code}: {self.cause}"
        lines = textwrap.wrap(f"{self.code}: {self.cause}", width, **_WHOLE_WORDS)
        if self.rows:
            lines += ["", *_table(self.headings, self.rows, table_width)]
        lines += ["", *textwrap.wrap(f"Try: {self.remedy}", width, **_WHOLE_WORDS)]
        if exercise and (lesson := self.lesson(exercise)):
            lines.append(f"Read: {lesson}")
        return "\n".join(lines)

    def lesson(self, exercise: str) -> str:
        """The command that shows the explanation; empty where no lesson explains it."""
        if self.is_no_verdict:
            return ""
        lesson, _, heading = self.anchor.partition("#")
        # A code without a lesson belongs to any exercise: show the lesson of this one.
        name = lesson or (exercise if exercise != "run" else "")
        return name and f"kit lesson {name}" + (f' "{heading}"' if heading else "")


class Failed(Exception):  # noqa: N818 -- it is a verdict, not an error
    """A solution does not pass a check."""

    def __init__(
        self,
        code: str,
        cause: str,
        headings: Sequence[str] = (),
        rows: Sequence[Sequence[Any]] = (),
        remedy: str = "",
        anchor: str = "",
        mistakes: Sequence[str] = (),
        location: str = "",
    ) -> None:
        """Take the fields of a :class:`Diagnosis`; the rows' values become text."""
        super().__init__(f"{code}: {cause}")
        common = COMMON_CODES.get(code)
        self.diagnosis = Diagnosis(
            code,
            inert(cause),
            tuple(headings),
            tuple(tuple(inert(str(value)) for value in row) for row in rows),
            remedy or (common.remedy if common else ""),
            anchor or (common.anchor if common else ""),
            tuple(mistakes),
            location,
        )

    @classmethod
    def of(cls, diagnosis: Diagnosis) -> "Failed":
        """The exception of a diagnosis that another process or an earlier step has made."""
        return cls(**vars(diagnosis))


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = None) -> list[str]:
    limit = 64 if len(headings) > 2 else 90
    shown = [tuple(shortened(cell, limit) for cell in row) for row in (headings, *rows)]
    widths = [max(len(row[column]) for row in shown) for column in range(len(headings))]
    if width is not None:
        widths = _fitting(widths, width - len("    ") - len("  ") * (len(widths) - 1))
        shown = [tuple(map(shortened, row, widths)) for row in shown]
    padded = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in shown]
    return ["    " + "  ".join(row).rstrip() for row in padded]


def _fitting(widths: Sequence[int], width: int) -> list[int]:
    """The widths of columns, of which the widest are made narrower until all fit."""
    found = list(widths)
    while sum(found) > width and max(found) > LEAST_COLUMN:
        found[found.index(max(found))] -= 1
    return found
