"""Points for grades, as a ``grading.toml`` says: weights, partial credit, due dates and the roster.

An example, in which everything may be left out::

    partial = true          # points for a part of the checks; false: all of them or nothing
    penalty_per_day = 0.1   # of the points, for each day or part of a day after the due date
    late_days = 5           # later than this gives nothing
    due = 2026-12-01T23:59:00+01:00         # or a table, as for the points

    [points]                # of an exercise; others have 1
    mesh = 5

    [weights.mesh]          # of a layer or a check within the exercise; others have 1
    interface = 0
    shape = 2

    [roster.ada]            # by the name of the learner's folder
    name = "Ada Lovelace"
    id = "1815"             # as the gradebook has it
    login = "ada@example.org"
    handed_in = 2026-11-30T12:00:00+01:00   # else the time of the module's file

Imports no framework.
"""

import math
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

from kit.course.catalogue import catalogue
from kit.course.grading import ClassGrades, Grade, Learner
from kit.errors import UserError, unknown_name
from kit.formatting import inert_name
from kit.judge.catalogue import LAYERS, WHOLE_RUN, Check
from kit.parts.protocols import PARTS

GRADING_FILE = "grading.toml"
SECONDS_PER_DAY = 86_400


@dataclass(frozen=True)
class Member:
    """A member of the class, as the roster has it."""

    #: The name of the folder, as :class:`~kit.course.grading.Learner` has it.
    folder: str
    name: str = ""
    id: str = ""
    login: str = ""
    handed_in: datetime | None = None


@dataclass(frozen=True)
class Grading:
    """How many points a grade gives."""

    partial: bool = True
    penalty_per_day: float = 0.0
    #: Days after which there are no points; None if there is no such limit.
    late_days: float | None = None
    #: By exercise.
    due: Mapping[str, datetime] = field(default_factory=dict)
    points: Mapping[str, float] = field(default_factory=dict)
    #: Exercise -> layer or check -> weight.
    weights: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    #: By folder.
    roster: Mapping[str, Member] = field(default_factory=dict)

    def possible(self, exercise: str) -> float:
        """The points of an exercise."""
        return self.points.get(exercise, 1.0)

    def weight(self, check: Check) -> float:
        """The weight of a check within its exercise: its own, or that of its layer."""
        weights = self.weights.get(check.exercise, {})
        return weights.get(check.name, weights.get(check.layer, 1.0))

    def member(self, learner: str) -> Member:
        """Who a learner is; only the folder is known of one who is not in the roster."""
        return self.roster.get(learner, Member(learner))


@dataclass(frozen=True)
class Credit:
    """The points of a learner for an exercise."""

    #: None if there is no verdict: somebody must decide.
    points: float | None
    possible: float
    #: Days after the due date, begun ones counted; 0 if it was in time.
    days_late: int = 0


def read_grading(file: Path) -> Grading:
    """Read a ``grading.toml``. Raises UserError for what is not understood."""
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise UserError(f"{file} cannot be read ({error}).") from None
    exercises = (*catalogue().names, WHOLE_RUN)
    try:
        _expect_names(content, Grading.__dataclass_fields__, "setting")
        due = content.get("due", {})
        due = due if isinstance(due, dict) else dict.fromkeys(exercises, due)
        roster = content.get("roster", {})
        _expect_names(roster, roster, "member")
        for table in (content.get("points", {}), due, content.get("weights", {})):
            _expect_names(table, exercises, "exercise")
        return Grading(
            _value(content, "partial", _truth, True),
            _value(content, "penalty_per_day", _share, 0.0),
            _value(content, "late_days", _number, None),
            {name: _value(due, name, _moment) for name in due},
            {name: _value(content["points"], name, _number) for name in content.get("points", {})},
            {name: _weights(name, table) for name, table in content.get("weights", {}).items()},
            {inert_name(name): _member(name, entry) for name, entry in roster.items()},
        )
    except ValueError as error:
        raise UserError(f"{file}: {error}.") from None
    except UserError as error:
        raise UserError(f"{file}: {error}") from None


def find_grading(file: Path | None, class_folder: Path) -> Grading:
    """The settings in this file, or in the one that the class folder has; else the defaults."""
    if file is None and not (class_folder / GRADING_FILE).is_file():
        return Grading()
    return read_grading(file or class_folder / GRADING_FILE)


def with_roster(learners: Sequence[Learner], grading: Grading) -> list[Learner]:
    """The learners, and the members of the class who have no folder, by name."""
    names = {learner.name for learner in learners}
    without = [Learner(name, None) for name in grading.roster if name not in names]
    return sorted([*learners, *without], key=lambda learner: learner.name)


def credit_of(learner: Learner, grade: Grade, checks: Sequence[Check], grading: Grading) -> Credit:
    """The points for a grade, of which ``checks`` were asked."""
    possible = grading.possible(grade.exercise)
    if grade.state == "not judged":
        return Credit(None, possible)
    if grade.state not in ("right", "wrong"):
        return Credit(0.0, possible)
    failed = {finding.check for finding in grade.findings}
    weights = {check.name: grading.weight(check) for check in checks}
    total = sum(weights.values())
    share = sum(weight for name, weight in weights.items() if name not in failed) / total if total else 1.0
    if not grading.partial:
        share = float(share == 1.0)
    days = _days_late(learner, grade.exercise, grading)
    factor = max(0.0, 1 - grading.penalty_per_day * days)
    if grading.late_days is not None and days > grading.late_days:
        factor = 0.0
    return Credit(round(possible * share * factor, 2), possible, days)


def credits_of_class(
    learners: Sequence[Learner], grades: ClassGrades, grading: Grading
) -> dict[str, dict[str, Credit]]:
    """The points of each learner, by exercise."""
    return {
        learner.name: {
            exercise: credit_of(learner, grade, grades.checks[exercise], grading)
            for exercise, grade in grades.grades[learner.name].items()
        }
        for learner in learners
    }


def total_of(credits: Mapping[str, Credit]) -> Credit:
    """The points of a learner; None if an exercise has none."""
    points = [credit.points for credit in credits.values()]
    possible = sum(credit.possible for credit in credits.values())
    days = max((credit.days_late for credit in credits.values()), default=0)
    if any(each is None for each in points):
        return Credit(None, possible, days)
    return Credit(round(sum(each or 0.0 for each in points), 2), possible, days)


def _days_late(learner: Learner, exercise: str, grading: Grading) -> int:
    due, handed_in = grading.due.get(exercise), grading.member(learner.name).handed_in
    if due is None or learner.folder is None:
        return 0
    if handed_in is None:
        modules = [learner.folder / f"{part}.py" for part in (PARTS if exercise == WHOLE_RUN else (exercise,))]
        times = [module.stat().st_mtime for module in modules if module.is_file()]
        if not times:
            return 0
        handed_in = datetime.fromtimestamp(max(times)).astimezone()
    return max(0, math.ceil((handed_in - due).total_seconds() / SECONDS_PER_DAY))


def _weights(exercise: str, table: Mapping[str, Any]) -> dict[str, float]:
    checks = {check.name for check in catalogue().checks_of(exercise)}
    _expect_names(table, (*LAYERS, *sorted(checks)), f"layer or check of {exercise}")
    return {name: _value(table, name, _number) for name in table}


def _member(folder: str, entry: Mapping[str, Any]) -> Member:
    _expect_names(entry, [name for name in Member.__dataclass_fields__ if name != "folder"], "entry of a member")
    texts = {name: inert_name(str(entry.get(name, ""))) for name in ("name", "id", "login")}
    return Member(inert_name(folder), **texts, handed_in=_value(entry, "handed_in", _moment, None))


def _expect_names(table: Mapping[str, Any], known: Any, what: str) -> None:
    if not isinstance(table, dict):
        raise ValueError(f"a table is expected, with one line for each {what}")
    for name in table:
        if name not in known:
            raise unknown_name(what, name, known)


def _value(table: Mapping[str, Any], name: str, kind: Callable[[Any], Any], default: Any = None) -> Any:
    if name not in table:
        return default
    try:
        return kind(table[name])
    except ValueError as error:
        raise ValueError(f"{name} is {table[name]!r}, and must be {error}") from None


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError("a number that is not negative")
    return float(value)


def _share(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
        raise ValueError("a share from 0 to 1")
    return float(value)


def _moment(value: Any) -> datetime:
    """A date and time; without an offset it is of this machine's time zone, a date is its end."""
    if isinstance(value, datetime):
        return value.astimezone()
    if isinstance(value, date):
        return datetime.combine(value, time(23, 59, 59)).astimezone()
    raise ValueError("a date, such as 2026-12-01 or 2026-12-01T23:59:00+01:00")


def below(credits: Mapping[str, Mapping[str, Credit]], percent: float) -> dict[str, float | None]:
    """The learners with fewer points than this share in percent, or with None for no verdict."""
    found: dict[str, float | None] = {}
    for learner, of_learner in credits.items():
        total = total_of(of_learner)
        share = None if total.points is None else 100 * total.points / (total.possible or 1)
        if share is None or share < percent:
            found[learner] = share
    return found
