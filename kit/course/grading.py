"""Grades a class: the checks that learners pass, and their mistakes. Imports no framework."""

import contextlib
import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from kit import __version__
from kit.checks.codes import COULD_NOT_BE_JUDGED, COULD_NOT_BE_READ, NO_VERDICT, NOT_IMPLEMENTED
from kit.checks.diagnosis import Diagnosis, Failed
from kit.course.catalogue import catalogue
from kit.course.workspace import Workspace
from kit.errors import UserError, unknown_name
from kit.files import write_json
from kit.formatting import inert, inert_name
from kit.judge.catalogue import LAYERS, WHOLE_RUN, Check, available
from kit.judge.runner import Job, Runner, Verdict
from kit.parts.implementation import EXERCISES
from kit.parts.protocols import PARTS
from kit.runtime.compiled_programs import cache_folder

#: The default: these take seconds per exercise, and need no TPU compiler.
DEFAULT_LAYERS = ("interface", "spec", "params", "program", "train")
GRADES_FILE = "grades.json"
_FORMAT = 1
#: Folders of a class that archives and tools leave there, and folders of a learner that no solution
#: reads.
NO_LEARNERS = ("__MACOSX", "__pycache__")
NOT_READ = ("__pycache__", "node_modules", "site-packages", "runs")
#: Bytes of a file that is read to find out whether it has changed.
READ_WHOLE = 10_000_000
DAMAGED_CACHE = (
    "this machine: a check crashed with the cache of compiled programs and not without it, so the cache was not used. "
    "Delete {folder}, which is safe."
)

State = Literal["nothing handed in", "missing", "to do", "not judged", "wrong", "right"]
#: The states of an exercise that was judged, at least in part.
JUDGED = ("right", "wrong", "not judged")


@dataclass(frozen=True)
class Learner:
    """A folder of the class."""

    #: The folder's name, in one line that a terminal and a page can show; no two are equal.
    name: str
    #: The folder with the modules; None if nothing was handed in, or nothing can be read.
    folder: Path | None
    #: Why it cannot be read or judged; None if it can, or if there is nothing.
    fault: Diagnosis | None = None


@dataclass(frozen=True)
class Finding:
    """A check that failed."""

    #: Its name.
    check: str
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
        return self.checks - len(self.findings) if self.state in JUDGED else 0

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
    #: Exercise -> the checks that were asked.
    checks: dict[str, list[Check]]
    #: What is wrong with this machine, in sentences; empty if nothing is.
    machine: str = ""

    def not_judged(self) -> list[tuple[str, str, Diagnosis]]:
        """Learner, exercise and diagnosis of what has no verdict, each diagnosis once."""
        found = {
            (learner, grade.exercise, finding.diagnosis): None
            for learner, grades in self.grades.items()
            for grade in grades.values()
            for finding in grade.findings
            if finding.diagnosis.is_no_verdict
        }
        return list(found)

    def counts(self) -> list[CodeCount]:
        """The mistakes of the class, the most frequent first.

        An open task is no mistake, and neither is what has no verdict.
        """
        found: dict[tuple[str, str], list[str]] = {}
        examples: dict[tuple[str, str], Diagnosis] = {}
        for learner, grades in self.grades.items():
            for exercise, grade in grades.items():
                for finding in grade.findings:
                    key = (exercise, finding.diagnosis.code)
                    if key[1] not in (NOT_IMPLEMENTED, *NO_VERDICT) and learner not in found.setdefault(key, []):
                        found[key].append(learner)
                        examples.setdefault(key, finding.diagnosis)
        order = {exercise: number for number, exercise in enumerate(self.exercises)}
        return [
            CodeCount(*key, tuple(learners), examples[key])
            for key, learners in sorted(found.items(), key=lambda item: (-len(item[1]), order[item[0][0]], item[0][1]))
        ]


def find_learners(class_folder: Path) -> list[Learner]:
    """The learners of a class by name: each folder in it, also one without modules.

    The modules are in the learner's folder, in an ``exercises`` in it or in one a level below.
    Raises UserError if the class folder does not exist, or if no folder in it has modules.
    """
    if not class_folder.is_dir():
        raise UserError(f"{class_folder}: there is no such folder. Name a folder with one folder for each learner.")
    try:
        folders = [path for path in class_folder.iterdir() if path.name[:1] != "." and path.name not in NO_LEARNERS]
    except OSError as error:
        raise UserError(f"{class_folder} cannot be read ({error.strerror}).") from None
    learners: dict[str, Learner] = {}
    for folder in sorted(folder for folder in folders if folder.is_symlink() or folder.is_dir()):
        name, number = inert_name(folder.name), 2
        while name in learners:
            name, number = f"{inert_name(folder.name)} ({number})", number + 1
        if folder.is_dir() or not folder.exists():
            learners[name] = _find_modules(name, folder)
    if not any(learner.folder or learner.fault for learner in learners.values()):
        raise UserError(
            f"{class_folder}: no folder in it has exercises such as mesh.py. Make a folder for each learner, with the "
            f"modules or {EXERCISES}/ in it."
        )
    return list(learners.values())


def _find_modules(name: str, folder: Path) -> Learner:
    try:
        if not folder.exists():
            cause = f"{name} is a link to a folder that does not exist."
            return Learner(
                name, None, Failed(COULD_NOT_BE_READ, cause, ("link to",), [(os.readlink(folder),)]).diagnosis
            )
        below = sorted(path / EXERCISES for path in folder.iterdir() if (path / EXERCISES).is_dir())
        places = [place for place in (folder, folder / EXERCISES, *below) if _has_modules(place)]
    except OSError as error:
        cause = f"{name} cannot be read: {error.strerror}."
        return Learner(name, None, Failed(COULD_NOT_BE_READ, cause, ("folder",), [(name,)]).diagnosis)
    different = {_modules_checksum(place): place for place in reversed(places)}
    if len(different) > 1:
        # A clone with untouched exercises beside the modules that were handed in.
        different = {mark: place for mark, place in different.items() if not _is_untouched(place)} or different
    if len(different) > 1:
        found = sorted(str(place.relative_to(folder)) for place in different.values())
        cause = f"{name} has exercises in {len(found)} folders, and they differ: {', '.join(found)}."
        remedy = "Ask which of them counts, and delete the other."
        return Learner(
            name, None, Failed(COULD_NOT_BE_JUDGED, cause, ("folder",), [(each,) for each in found], remedy).diagnosis
        )
    return Learner(name, next(iter(different.values()), None))


def _has_modules(place: Path) -> bool:
    return any(os.path.lexists(place / f"{exercise}.py") for exercise in catalogue().names)


def _is_untouched(place: Path) -> bool:
    """Whether there are only stubs. What cannot be read is none."""
    try:
        return all(Workspace(place).state(exercise) in ("missing", "to do") for exercise in catalogue().names)
    except UserError:
        return False


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
    are judged at the same time; ``judge_all`` judges unchanged ones too. What cannot be read or
    judged costs that exercise of that learner alone. Raises UserError if the file is damaged or
    cannot be written, or if another process writes it.
    """
    found: dict[tuple[str, str], Grade] = {}
    with _GradesFile(file, judge_all) as grades_file, Runner(catalogue()) as runner, _Copies() as copies:

        def job(learner: Learner, exercise: str, checks: list[Check], checksum: str) -> Job:
            found[learner.name, exercise] = grade = yield from _judge(exercise, checks)
            grades_file.put(learner.name, checksum, grade)
            report(learner, grade, False)

        def jobs() -> Iterator[tuple[str, Job]]:
            for learner in learners:
                modules = _modules_checksum(learner.folder) if learner.folder else ""
                for exercise in exercises:
                    checks = checks_to_ask(exercise, layers)
                    checksum = _checksum(modules, checks)
                    grade = _without_running(learner, exercise, checks)
                    before = grades_file.get(learner.name, exercise, checksum) if grade is None else None
                    if grade is not None or before is not None:
                        found[learner.name, exercise] = grade or before  # type: ignore[assignment]  # one is a grade
                        report(learner, found[learner.name, exercise], before is not None)
                    else:
                        yield copies.path(learner), job(learner, exercise, checks, checksum)

        runner.run_jobs(jobs(), at_once)
        machine = DAMAGED_CACHE.format(folder=cache_folder()) if runner.cache_is_damaged else ""
    return ClassGrades(
        tuple(exercises),
        {learner.name: {exercise: found[learner.name, exercise] for exercise in exercises} for learner in learners},
        {exercise: checks_to_ask(exercise, layers) for exercise in exercises},
        machine,
    )


def _judge(exercise: str, checks: Sequence[Check]) -> Generator[Check, Verdict, Grade]:
    findings = []
    for check in checks:
        try:
            diagnosis = (yield check).diagnosis
        except UserError as error:
            diagnosis = Failed(COULD_NOT_BE_JUDGED, str(error), ("check",), [(check.asks,)]).diagnosis
        if diagnosis is not None:
            findings.append(Finding(check.name, check.asks, diagnosis))
    has_verdict = not any(finding.diagnosis.is_no_verdict for finding in findings)
    state: State = ("wrong" if findings else "right") if has_verdict else "not judged"
    return Grade(exercise, state, len(checks), tuple(findings))


def _without_running(learner: Learner, exercise: str, checks: Sequence[Check]) -> Grade | None:
    """The grade of an exercise that is not to be run; None for others."""
    if learner.folder is None and learner.fault is None:
        return Grade(exercise, "nothing handed in", len(checks))
    fault = learner.fault
    if learner.folder is not None:
        workspace = Workspace(learner.folder)
        try:
            states = [workspace.state(part) for part in (PARTS if exercise == WHOLE_RUN else (exercise,))]
        except UserError as error:
            fault = Failed(COULD_NOT_BE_READ, str(error), ("exercise",), [(exercise,)]).diagnosis
        else:
            if exercise == WHOLE_RUN:
                is_written = all(state in ("written", "not Python") for state in states)
                return None if is_written else Grade(exercise, "to do", len(checks))
            return Grade(exercise, states[0], len(checks)) if states[0] in ("missing", "to do") else None
    assert fault is not None
    return Grade(exercise, "not judged", len(checks), tuple(Finding(check.name, check.asks, fault) for check in checks))


def _modules_checksum(folder: Path) -> str:
    """A checksum of all that a solution may import or read from its folder."""
    checksum = hashlib.sha256()
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name[:1] != "." and name not in NOT_READ)
        for name in sorted(files):
            if name[:1] != "." and not name.endswith((".pyc", ".unfinished")):
                file = Path(place, name)
                checksum.update(os.fsencode(file.relative_to(folder)) + b"\0" + _content_mark(file))
    return checksum.hexdigest()


def _content_mark(file: Path) -> bytes:
    """What changes if a file changes: its content, or, of a large one, size and time."""
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):
            return f"mode {status.st_mode}".encode()
        if status.st_size > READ_WHOLE:
            return f"{status.st_size} {status.st_mtime_ns}".encode()
        return hashlib.sha256(file.read_bytes()).digest()
    except OSError as error:
        return f"error {error.errno}".encode()


def _checksum(modules: str, checks: Sequence[Check]) -> str:
    asked = ",".join(check.id for check in checks)
    return hashlib.sha256(f"{__version__}\0{modules}\0{asked}".encode()).hexdigest()


class _Copies:
    """Where learners are judged whose folder's path is not UTF-8, as JAX and XLA need it.

    A folder's name from another system's archive may be of any bytes; what is in it is copied.
    """

    def __init__(self) -> None:
        """Copy nothing yet."""
        self._folder = ""
        self._copied: dict[str, str] = {}

    def __enter__(self) -> "_Copies":
        return self

    def __exit__(self, *_: object) -> None:
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    def path(self, learner: Learner) -> str:
        """The path of a folder with the learner's modules."""
        assert learner.folder is not None
        path = str(learner.folder)
        try:
            path.encode()
        except UnicodeEncodeError:
            pass
        else:
            return path
        if path not in self._copied:
            self._folder = self._folder or tempfile.mkdtemp(prefix="kit-grade-")
            copy = Path(self._folder, f"learner-{len(self._copied) + 1}")
            with contextlib.suppress(OSError):  # what cannot be copied cannot be judged
                shutil.copytree(path, copy, symlinks=True, ignore=_not_copied)
            self._copied[path] = str(copy)
        return self._copied[path]


def _not_copied(folder: str, names: list[str]) -> list[str]:
    """What is hidden, and what is neither file, folder nor link: copying that may never end."""
    kinds = {stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK}
    modes = {name: os.lstat(os.path.join(folder, name)).st_mode for name in names}
    return [name for name, mode in modes.items() if name[:1] == "." or stat.S_IFMT(mode) not in kinds]


class _GradesFile:
    """The file with the grades, complete after each grade, while no other process writes it."""

    def __init__(self, file: Path, judge_all: bool) -> None:
        """Read nothing yet; ``judge_all`` does not look at earlier grades."""
        self._file = file
        self._judge_all = judge_all
        self._lock = FileLock(file.with_name(f".{file.name}.lock"), timeout=0)
        self._grades: dict[str, Any] = {}

    def __enter__(self) -> "_GradesFile":
        try:
            self._lock.acquire()
        except Timeout:
            raise UserError(
                f"another `kit grade` is writing {self._file}: wait until it ends, or name another file with --grades."
            ) from None
        except OSError as error:
            raise self._not_writable(error) from None
        try:
            if not self._judge_all and os.path.lexists(self._file):
                self._grades = self._read()
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def _read(self) -> dict[str, Any]:
        try:
            if not self._file.is_file():
                raise ValueError("it is no regular file")
            content = json.loads(self._file.read_text(encoding="utf-8"))
            if content["format"] != _FORMAT or not isinstance(content["grades"], dict):
                raise ValueError("another format")
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise UserError(
                f"{self._file} is damaged or cannot be read ({error}): delete it, or judge everything with --anew."
            ) from None
        return {learner: entries for learner, entries in content["grades"].items() if isinstance(entries, dict)}

    def get(self, learner: str, exercise: str, checksum: str) -> Grade | None:
        """The grade, if nothing has changed since it was written."""
        try:
            entry = self._grades[learner][exercise]
            if entry["mark"] != checksum or entry["state"] not in ("right", "wrong"):
                return None
            findings = [
                Finding(str(found["check"]), inert(found["asks"]), Diagnosis.from_dict(found["diagnosis"]))
                for found in entry["findings"]
            ]
            return Grade(exercise, entry["state"], int(entry["checks"]), tuple(findings))
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
            return None

    def put(self, learner: str, checksum: str, grade: Grade) -> None:
        """Write a grade."""
        self._grades.setdefault(learner, {})[grade.exercise] = {
            "mark": checksum,
            "state": grade.state,
            "checks": grade.checks,
            "findings": [
                {"check": finding.check, "asks": finding.asks, "diagnosis": finding.diagnosis.as_dict()}
                for finding in grade.findings
            ],
        }
        try:
            write_json(self._file, {"format": _FORMAT, "grades": self._grades})
        except OSError as error:
            raise self._not_writable(error) from None

    def _not_writable(self, error: OSError) -> UserError:
        return UserError(f"{self._file} cannot be written ({error.strerror}): name another file with --grades.")
