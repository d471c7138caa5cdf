"""A class's solutions, judged: what each learner's exercises pass, and which mistakes the class makes. Imports no framework itself."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from kit import __version__
from kit.judge.catalogue import LAYERS, WHOLE_RUN, Check, available
from kit.checks.diagnosis import Diagnosis
from kit.judge.runner import Job, Runner
from kit.course.catalogue import catalogue
from kit.course.workspace import Workspace
from kit.errors import UserError
from kit.files import write_json
from kit.parts.implementation import EXERCISES
from kit.parts.protocols import PARTS

#: What is asked unless told otherwise: seconds for each exercise, and no TPU compiler.
DEFAULT_LAYERS = ("interface", "spec", "params", "program", "train")
GRADES_FILE = "grades.json"
_FORMAT = 1

State = Literal["missing", "to do", "wrong", "right"]


@dataclass(frozen=True)
class Learner:
    """Who handed something in."""

    name: str
    #: The folder with the modules.
    folder: Path


@dataclass(frozen=True)
class Finding:
    """A check that was not passed."""

    #: What the check asks, in one sentence.
    asks: str
    diagnosis: Diagnosis


@dataclass(frozen=True)
class Grade:
    """What the checks say of one exercise of one learner."""

    exercise: str
    state: State
    #: How many checks there are.
    checks: int
    #: Those that were not passed, in the order in which a learner meets them.
    findings: tuple[Finding, ...] = ()

    @property
    def passed(self) -> int:
        """How many checks were passed."""
        return self.checks - len(self.findings) if self.state in ("wrong", "right") else 0

    @property
    def codes(self) -> list[str]:
        """The codes that were found, each once, in their order."""
        return list(dict.fromkeys(finding.diagnosis.code for finding in self.findings))


@dataclass(frozen=True)
class CodeCount:
    """A mistake, and who made it."""

    exercise: str
    code: str
    learners: tuple[str, ...]
    #: Of the first of them.
    example: Diagnosis


@dataclass(frozen=True)
class ClassGrades:
    """All grades of a class."""

    exercises: tuple[str, ...]
    #: Learner -> exercise -> grade, in the order of their names and of the course.
    grades: dict[str, dict[str, Grade]]

    def counts(self) -> list[CodeCount]:
        """The mistakes of the class, those that most learners made first. What is still to be written is none."""
        found: dict[tuple[str, str], list[str]] = {}
        examples: dict[tuple[str, str], Diagnosis] = {}
        for learner, grades in self.grades.items():
            for exercise, grade in grades.items():
                for finding in grade.findings:
                    key = (exercise, finding.diagnosis.code)
                    if finding.diagnosis.code != "NOT_IMPLEMENTED" and learner not in found.setdefault(key, []):
                        found[key].append(learner)
                        examples.setdefault(key, finding.diagnosis)
        order = {exercise: number for number, exercise in enumerate(self.exercises)}
        return [
            CodeCount(*key, tuple(learners), examples[key])
            for key, learners in sorted(found.items(), key=lambda item: (-len(item[1]), order[item[0][0]], item[0][1]))
        ]


def find_learners(class_folder: Path) -> tuple[list[Learner], list[str]]:
    """Who handed something in: a folder for each, with the modules in it, or in an ``exercises`` in it or below it.

    Returns:
        The learners by their names, and the folders that have no such modules.

    Raises:
        UserError: if there is no such folder, or nobody's modules in it.

    """
    if not class_folder.is_dir():
        raise UserError(f"{class_folder}: there is no such folder; it has a folder for each learner.")
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
            f"{class_folder}: no folder in it has exercises such as mesh.py; it has a folder for each learner, with the modules or an "
            f"{EXERCISES}/ in it."
        )
    return learners, without


def checks_to_ask(exercise: str, layers: Sequence[str]) -> list[Check]:
    """The checks of an exercise in these layers that this machine can make."""
    return [check for check in available(catalogue().checks_of(exercise)) if check.layer in layers]


def exercises_to_ask(names: Sequence[str], layers: Sequence[str]) -> tuple[str, ...]:
    """The exercises that have checks in these layers, in the order of the course; all parts together come last.

    Args:
        names: Of exercises; empty for all.
        layers: Of checks.

    Raises:
        UserError: for a name or a layer that there is not.

    """
    for given, there_is, what in ((names, (*catalogue().names, WHOLE_RUN), "exercise"), (layers, tuple(LAYERS), "layer")):
        for name in given:
            if name not in there_is:
                raise UserError(f"There is no {what} {name!r}: there is {', '.join(there_is)}.")
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
    tell: Callable[[Learner, Grade, bool], None],
    at_once: int = 2,
    anew: bool = False,
) -> ClassGrades:
    """Judge what was handed in, and keep each verdict in a file, so that what has not changed is not judged again.

    Args:
        learners: Who handed something in.
        exercises: Which are judged.
        layers: Of checks.
        file: Where grades are kept.
        tell: Is told of each grade, and whether it was there before.
        at_once: How many exercises are judged at the same time.
        anew: Judge also what was judged before.

    Raises:
        UserError: if the file is damaged, or cannot be written.

    """
    kept = _Kept(file, anew)
    found: dict[tuple[str, str], Grade] = {}

    def job(learner: Learner, exercise: str, checks: list[Check], mark: str) -> Job:
        findings = []
        for check in checks:
            verdict = yield check
            if verdict.diagnosis is not None:
                findings.append(Finding(check.asks, verdict.diagnosis))
        grade = Grade(exercise, "wrong" if findings else "right", len(checks), tuple(findings))
        found[learner.name, exercise] = grade
        kept.put(learner.name, mark, grade)
        tell(learner, grade, False)

    def jobs() -> Iterator[tuple[str, Job]]:
        for learner in learners:
            workspace = Workspace(learner.folder)
            modules = _modules_mark(learner.folder)
            for exercise in exercises:
                checks = checks_to_ask(exercise, layers)
                state = _unwritten(workspace, exercise)
                mark = _mark(modules, checks)
                before = kept.get(learner.name, exercise, mark)
                if state is not None or before is not None:
                    grade = before or Grade(exercise, state or "to do", len(checks))
                    found[learner.name, exercise] = grade
                    tell(learner, grade, state is None)
                else:
                    yield str(learner.folder), job(learner, exercise, checks, mark)

    with Runner(catalogue()) as runner:
        runner.run_jobs(jobs(), at_once)
    return ClassGrades(
        tuple(exercises),
        {learner.name: {exercise: found[learner.name, exercise] for exercise in exercises} for learner in learners},
    )


def _unwritten(workspace: Workspace, exercise: str) -> State | None:
    """Whether an exercise need not be run to be judged, since nothing of it is written."""
    states = [workspace.state(part) for part in (PARTS if exercise == WHOLE_RUN else (exercise,))]
    if exercise == WHOLE_RUN:
        return None if all(state in ("written", "not Python") for state in states) else "to do"
    return {"missing": "missing", "to do": "to do"}.get(states[0])  # type: ignore[return-value]  # None for the others


def _modules_mark(folder: Path) -> str:
    """A checksum over what a solution may import from its folder."""
    mark = hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        try:
            content = file.read_bytes()
        except OSError as error:
            raise UserError(f"{file} cannot be read ({error.strerror}).") from None
        mark.update(f"{file.relative_to(folder)}\0{len(content)}\0".encode() + content)
    return mark.hexdigest()


def _mark(modules: str, checks: Sequence[Check]) -> str:
    asked = ",".join(check.id for check in checks)
    return hashlib.sha256(f"{__version__}\0{modules}\0{asked}".encode()).hexdigest()


class _Kept:
    """Grades in a file, which is whole after each."""

    def __init__(self, file: Path, anew: bool) -> None:
        """Read the file, if there is one and it is asked for."""
        self._file = file
        self._content: dict[str, Any] = {"format": _FORMAT, "grades": {}}
        if not anew and file.exists():
            try:
                content = json.loads(file.read_text(encoding="utf-8"))
                if content["format"] != _FORMAT or not isinstance(content["grades"], dict):
                    raise ValueError("another format")
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise UserError(
                    f"{file} is damaged or cannot be read ({error}): delete it, or judge anew with --anew."
                ) from None
            self._content = content

    def get(self, learner: str, exercise: str, mark: str) -> Grade | None:
        """The grade, if nothing has changed since."""
        try:
            entry = self._content["grades"][learner][exercise]
            if entry["mark"] != mark:
                return None
            findings = [Finding(found["asks"], Diagnosis.from_dict(found["diagnosis"])) for found in entry["findings"]]
            return Grade(exercise, entry["state"], int(entry["checks"]), tuple(findings))
        except (KeyError, TypeError, ValueError):
            return None

    def put(self, learner: str, mark: str, grade: Grade) -> None:
        """Keep a grade."""
        self._content["grades"].setdefault(learner, {})[grade.exercise] = {
            "mark": mark,
            "state": grade.state,
            "checks": grade.checks,
            "findings": [
                {"asks": finding.asks, "diagnosis": finding.diagnosis.as_dict()} for finding in grade.findings
            ],
        }
        try:
            write_json(self._file, self._content)
        except OSError as error:
            raise UserError(f"{self._file} cannot be written ({error.strerror}): give another with --grades.") from None
