"""Grades a class: the checks that learners pass, and their mistakes. Imports no framework."""

import hashlib
import json
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from kit import __version__
from kit.checks.codes import NOT_IMPLEMENTED
from kit.checks.diagnosis import Diagnosis
from kit.course.catalogue import catalogue
from kit.course.workspace import Workspace
from kit.errors import UserError, unknown_name
from kit.files import write_json
from kit.judge.catalogue import LAYERS, WHOLE_RUN, Check, available
from kit.judge.runner import Job, Runner, Verdict
from kit.parts.implementation import EXERCISES
from kit.parts.protocols import PARTS

#: The default: these take seconds per exercise, and need no TPU compiler.
DEFAULT_LAYERS = ("interface", "spec", "params", "program", "train")
GRADES_FILE = "grades.json"
_FORMAT = 1

State = Literal["missing", "to do", "wrong", "right"]


@dataclass(frozen=True)
class Learner:
    """A learner who handed in exercises."""

    name: str
    #: The folder with the modules.
    folder: Path


@dataclass(frozen=True)
class Finding:
    """A check that failed."""

    #: What the check asks, in one sentence.
    asks: str
    diagnosis: Diagnosis


@dataclass(frozen=True)
class Grade:
    """The result of one exercise of one learner."""

    exercise: str
    state: State
    #: Number of checks.
    checks: int
    #: Failed checks, in the order in which a learner sees them.
    findings: tuple[Finding, ...] = ()

    @property
    def passed(self) -> int:
        """The number of checks that pass."""
        return self.checks - len(self.findings) if self.state in ("wrong", "right") else 0

    @property
    def codes(self) -> list[str]:
        """The codes of the findings, each once, in their order."""
        return list(dict.fromkeys(finding.diagnosis.code for finding in self.findings))


@dataclass(frozen=True)
class CodeCount:
    """A mistake, and the learners who made it."""

    exercise: str
    code: str
    learners: tuple[str, ...]
    #: The diagnosis of the first of these learners.
    example: Diagnosis


@dataclass(frozen=True)
class ClassGrades:
    """All grades of a class."""

    exercises: tuple[str, ...]
    #: Learner -> exercise -> grade; learners by name, exercises in the order of the course.
    grades: dict[str, dict[str, Grade]]

    def counts(self) -> list[CodeCount]:
        """The mistakes of the class, the most frequent first. An open task is no mistake."""
        found: dict[tuple[str, str], list[str]] = {}
        examples: dict[tuple[str, str], Diagnosis] = {}
        for learner, grades in self.grades.items():
            for exercise, grade in grades.items():
                for finding in grade.findings:
                    key = (exercise, finding.diagnosis.code)
                    if finding.diagnosis.code != NOT_IMPLEMENTED and learner not in found.setdefault(key, []):
                        found[key].append(learner)
                        examples.setdefault(key, finding.diagnosis)
        order = {exercise: number for number, exercise in enumerate(self.exercises)}
        return [
            CodeCount(*key, tuple(learners), examples[key])
            for key, learners in sorted(found.items(), key=lambda item: (-len(item[1]), order[item[0][0]], item[0][1]))
        ]


def find_learners(class_folder: Path) -> tuple[list[Learner], list[str]]:
    """The learners of a class by name, and the names of folders without modules.

    A learner is a folder with modules in it or in an ``exercises`` below it. Raises UserError if
    the class folder does not exist or has no modules.
    """
    if not class_folder.is_dir():
        raise UserError(f"{class_folder}: there is no such folder. Name a folder with one folder for each learner.")
    learners, without = [], []
    for folder in sorted(path for path in class_folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        modules = next(
            (
                place
                for place in (folder, folder / EXERCISES, *sorted(folder.glob(f"*/{EXERCISES}")))
                if any((place / f"{exercise}.py").is_file() for exercise in catalogue().names)
            ),
            None,
        )
        if modules is None:
            without.append(folder.name)
        else:
            learners.append(Learner(folder.name, modules))
    if not learners:
        raise UserError(
            f"{class_folder}: no folder in it has exercises such as mesh.py. Make a folder for each learner, with the "
            f"modules or {EXERCISES}/ in it."
        )
    return learners, without


def checks_to_ask(exercise: str, layers: Sequence[str]) -> list[Check]:
    """The checks of an exercise in these layers that this machine can run."""
    return [check for check in available(catalogue().checks_of(exercise)) if check.layer in layers]


def exercises_to_ask(names: Sequence[str], layers: Sequence[str]) -> tuple[str, ...]:
    """The exercises that have checks in these layers, in order; the whole run comes last.

    No names mean all exercises. Raises UserError for an unknown name or layer, or if no check is
    left.
    """
    for given, known, what in ((names, (*catalogue().names, WHOLE_RUN), "exercise"), (layers, tuple(LAYERS), "layer")):
        for name in given:
            if name not in known:
                raise unknown_name(what, name, known)
    chosen = tuple(
        exercise
        for exercise in (*catalogue().names, WHOLE_RUN)
        if (exercise in names or not names) and checks_to_ask(exercise, layers)
    )
    if not chosen:
        raise UserError(f"No check of {', '.join(names) or 'any exercise'} is in {', '.join(layers)}.")
    return chosen


def grade_class(
    learners: Sequence[Learner],
    exercises: Sequence[str],
    layers: Sequence[str],
    file: Path,
    report: Callable[[Learner, Grade, bool], None],
    at_once: int = 2,
    judge_all: bool = False,
) -> ClassGrades:
    """Grade a class, and write each grade to a file, so that only changes are judged again.

    ``report`` is called with each grade, and with whether it was in the file. ``at_once`` exercises
    are judged at the same time; ``judge_all`` judges unchanged ones too. Raises UserError if the
    file is damaged or cannot be written.
    """
    grades_file = _GradesFile(file, judge_all)
    found: dict[tuple[str, str], Grade] = {}

    def job(learner: Learner, exercise: str, checks: list[Check], checksum: str) -> Job:
        found[learner.name, exercise] = grade = yield from _judge(exercise, checks)
        grades_file.put(learner.name, checksum, grade)
        report(learner, grade, False)

    def jobs() -> Iterator[tuple[str, Job]]:
        for learner in learners:
            workspace = Workspace(learner.folder)
            modules = _modules_checksum(learner.folder)
            for exercise in exercises:
                checks = checks_to_ask(exercise, layers)
                state = _unwritten(workspace, exercise)
                checksum = _checksum(modules, checks)
                before = grades_file.get(learner.name, exercise, checksum)
                if state is not None or before is not None:
                    grade = before or Grade(exercise, state or "to do", len(checks))
                    found[learner.name, exercise] = grade
                    report(learner, grade, state is None)
                else:
                    yield str(learner.folder), job(learner, exercise, checks, checksum)

    with Runner(catalogue()) as runner:
        runner.run_jobs(jobs(), at_once)
    return ClassGrades(
        tuple(exercises),
        {learner.name: {exercise: found[learner.name, exercise] for exercise in exercises} for learner in learners},
    )


def _judge(exercise: str, checks: Sequence[Check]) -> Generator[Check, Verdict, Grade]:
    findings = []
    for check in checks:
        verdict = yield check
        if verdict.diagnosis is not None:
            findings.append(Finding(check.asks, verdict.diagnosis))
    return Grade(exercise, "wrong" if findings else "right", len(checks), tuple(findings))


def _unwritten(workspace: Workspace, exercise: str) -> State | None:
    """The state of an exercise that need not run because nothing is written; None for others."""
    states = [workspace.state(part) for part in (PARTS if exercise == WHOLE_RUN else (exercise,))]
    if exercise == WHOLE_RUN:
        return None if all(state in ("written", "not Python") for state in states) else "to do"
    return {"missing": "missing", "to do": "to do"}.get(states[0])  # type: ignore[return-value]  # None for all others


def _modules_checksum(folder: Path) -> str:
    """A checksum of all modules that a solution may import from its folder."""
    checksum = hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        try:
            content = file.read_bytes()
        except OSError as error:
            raise UserError(f"{file} cannot be read ({error.strerror}).") from None
        checksum.update(f"{file.relative_to(folder)}\0{len(content)}\0".encode() + content)
    return checksum.hexdigest()


def _checksum(modules: str, checks: Sequence[Check]) -> str:
    asked = ",".join(check.id for check in checks)
    return hashlib.sha256(f"{__version__}\0{modules}\0{asked}".encode()).hexdigest()


class _GradesFile:
    """The file with the grades, complete after each grade."""

    def __init__(self, file: Path, judge_all: bool) -> None:
        """Read the file, if it exists and unchanged exercises are not judged again."""
        self._file = file
        self._content: dict[str, Any] = {"format": _FORMAT, "grades": {}}
        if not judge_all and file.exists():
            try:
                content = json.loads(file.read_text(encoding="utf-8"))
                if content["format"] != _FORMAT or not isinstance(content["grades"], dict):
                    raise ValueError("another format")
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise UserError(
                    f"{file} is damaged or cannot be read ({error}): delete it, or judge everything with --anew."
                ) from None
            self._content = content

    def get(self, learner: str, exercise: str, checksum: str) -> Grade | None:
        """The grade, if nothing has changed since it was written."""
        try:
            entry = self._content["grades"][learner][exercise]
            if entry["mark"] != checksum:
                return None
            findings = [Finding(found["asks"], Diagnosis.from_dict(found["diagnosis"])) for found in entry["findings"]]
            return Grade(exercise, entry["state"], int(entry["checks"]), tuple(findings))
        except (KeyError, TypeError, ValueError):
            return None

    def put(self, learner: str, checksum: str, grade: Grade) -> None:
        """Write a grade."""
        self._content["grades"].setdefault(learner, {})[grade.exercise] = {
            "mark": checksum,
            "state": grade.state,
            "checks": grade.checks,
            "findings": [
                {"asks": finding.asks, "diagnosis": finding.diagnosis.as_dict()} for finding in grade.findings
            ],
        }
        try:
            write_json(self._file, self._content)
        except OSError as error:
            raise UserError(
                f"{self._file} cannot be written ({error.strerror}): name another file with --grades."
            ) from None
