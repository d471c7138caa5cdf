"""What the checks found in a learner's exercises, in ``.kit/results.json`` beside the folder.

`pytest`, `kit check`, `kit watch` and `kit predict` write the file; the board, `kit lesson`,
`kit solution` and `kit report --course` read it. It has the latest result of each check of each
folder, and what the learner predicted::

    {"format": 1,
     "folders": {"exercises": {"mesh": {"shape": {
         "state": "failed", "code": "MESH_WRONG_SHAPE", "cause": "…", "seconds": 0.21,
         "when": "2026-11-28T01:58:50+00:00", "module": "9f86d081…", "kit": "0.1.0"}}}},
     "predictions": {"exercises": {"mesh": {"column": {
         "answer": 3.0, "measured": 2.0, "right": false,
         "when": "2026-11-28T01:58:50+00:00", "kit": "0.1.0"}}}}}

``module`` is the SHA-256 of the module and of the modules beside it that it imports: a result of
another version of them is not current. A passed check has no code and no cause. A prediction is a
number or a text; "predictions" may be missing. Unknown keys are kept. A file
that is damaged, or that a newer kit wrote, is moved aside before a new one is written.
Imports no framework.
"""

import ast
import hashlib
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kit import __version__
from kit.course.workspace import Workspace, shown
from kit.files import read_module, write_json
from kit.judge.catalogue import WHOLE_RUN, Check
from kit.parts.open_tasks import parse
from kit.parts.protocols import PARTS

if TYPE_CHECKING:
    from kit.judge.runner import Verdict

FORMAT = 1
#: Seconds to wait for another process that writes; it needs a few milliseconds.
_PATIENCE = 10
#: Verdicts come in bursts, and each write waits for the disk: write at most once in this time.
_SECONDS_BETWEEN_WRITES = 0.5


@dataclass(frozen=True)
class Result:
    """The latest result of a check."""

    state: Literal["passed", "failed"]
    #: Of the diagnosis; both are empty if the check passes.
    code: str
    cause: str
    #: How long the check took.
    seconds: float
    #: When it ended, as ISO 8601 with the time zone UTC.
    when: str
    #: What it looked at: :func:`module_hash`.
    module: str
    #: The version of the kit that checked.
    kit: str

    @property
    def passed(self) -> bool:
        """Whether the check passed."""
        return self.state == "passed"


#: Exercise -> check -> its latest result.
Results = dict[str, dict[str, Result]]


@dataclass(frozen=True)
class Prediction:
    """The latest answer to a question, and what was measured."""

    answer: float | str
    measured: float | str
    #: Whether the answer was near enough.
    right: bool
    #: As in a result.
    when: str
    kit: str


#: Exercise -> question -> the latest prediction.
Predictions = dict[str, dict[str, Prediction]]


class _OtherFormat(Exception):  # noqa: N818 -- it is an answer, not an error
    """The file was written by a newer kit."""


class ResultsFile:
    """The results of the exercises in one folder."""

    def __init__(self, workspace: Workspace) -> None:
        """Find the file, without reading it."""
        self.file: Path = workspace.folder.parent / ".kit" / "results.json"
        self._folder = workspace.folder.name

    def read(self) -> tuple[Results, str]:
        """The results, and a sentence if the file cannot be used; without a file there are none."""
        results, _, sentence = self.read_all()
        return results, sentence

    def read_predictions(self) -> tuple[Predictions, str]:
        """The predictions, and a sentence if the file cannot be used; as :meth:`read`."""
        return self.read_all()[1:]

    def read_all(self) -> tuple[Results, Predictions, str]:
        """Results and predictions, and a sentence if the file cannot be used; as :meth:`read`."""
        try:
            return *self._parse(self._content()), ""
        except FileNotFoundError:
            return {}, {}, ""
        except OSError as error:
            return {}, {}, f"{shown(self.file)} cannot be read ({error.strerror}), so earlier results are not shown."
        except (_OtherFormat, ValueError, RecursionError) as error:
            return {}, {}, f"{shown(self.file)} {_fault(error)}: the next check moves it aside, and begins a new one."

    def write(self, results: Results) -> str:
        """Add results, or replace those of the same checks.

        Returns a sentence if the file could not be used and was moved aside. Raises OSError if the
        file cannot be written.
        """
        return self._add("folders", results)

    def write_predictions(self, predictions: Predictions) -> str:
        """Add predictions, or replace those of the same questions; as :meth:`write`."""
        return self._add("predictions", predictions)

    def _add(self, key: str, entries: Results | Predictions) -> str:
        from filelock import FileLock

        self.file.parent.mkdir(exist_ok=True)
        with FileLock(self.file.with_suffix(".lock"), timeout=_PATIENCE):
            sentence = ""
            try:
                content = self._content()
                self._parse(content)
            except FileNotFoundError:
                content = {"format": FORMAT, "folders": {}}
            except (_OtherFormat, ValueError, RecursionError) as error:
                content = {"format": FORMAT, "folders": {}}
                sentence = f"{shown(self.file)} {_fault(error)}: it is now {shown(self._move_aside())}."
            folder = content.setdefault(key, {}).setdefault(self._folder, {})
            for exercise, found in entries.items():
                folder.setdefault(exercise, {}).update({name: vars(entry) for name, entry in found.items()})
            write_json(self.file, content)
            return sentence

    def _content(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.file.read_text(encoding="utf-8"))
        if isinstance(content, dict) and isinstance(content.get("format"), int) and content["format"] > FORMAT:
            raise _OtherFormat
        return content

    def cannot_be_written(self, error: OSError) -> str:
        """Why a write has failed, as a part of a sentence."""
        return f"{shown(self.file)} cannot be written ({error.strerror or 'another process holds its lock'})"

    def _parse(self, content: Any) -> tuple[Results, Predictions]:
        """Results and predictions of this folder. Raises ValueError for another structure."""
        try:
            if content["format"] != FORMAT:
                raise ValueError("format")
            every = {
                folder: {
                    exercise: {name: _result(entry) for name, entry in checks.items()}
                    for exercise, checks in exercises.items()
                }
                for folder, exercises in content["folders"].items()
            }
            return every.get(self._folder, {}), _predictions(content, self._folder)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(str(error)) from None

    def _move_aside(self) -> Path:
        number = 1
        while (aside := self.file.with_name(f"results-{number}.json")).exists():
            number += 1
        self.file.rename(aside)
        return aside


class Recorder:
    """Keeps the verdicts on a folder while checks run; a failure to write never stops them.

    What could not be judged is not kept. A verdict is kept only if the module is still what it was
    when the checks began: a check may have read the file before or after a change.
    """

    def __init__(self, workspace: Workspace | None, exercises: Iterable[str]) -> None:
        """Read the modules of these exercises. Without a workspace nothing is kept."""
        #: Why results are not kept, or what happened to the file; empty if all is well.
        self.problem = ""
        self._workspace = workspace
        self._modules = {name: module_hash(workspace.folder, name) for name in exercises} if workspace else {}
        self._waiting: Results = {}
        self._written = 0.0

    def add(self, verdict: "Verdict") -> None:
        """Keep a verdict; it is written now or with a later one, at the latest by :meth:`flush`."""
        check, diagnosis = verdict.check, verdict.diagnosis
        if diagnosis is not None and diagnosis.is_no_verdict:
            return
        if self._workspace is None or self._modules.get(check.exercise) != module_hash(
            self._workspace.folder, check.exercise
        ):
            return
        self._waiting.setdefault(check.exercise, {})[check.name] = Result(
            "passed" if diagnosis is None else "failed",
            "" if diagnosis is None else diagnosis.code,
            "" if diagnosis is None else diagnosis.cause,
            round(verdict.seconds, 3),
            datetime.now(UTC).isoformat(timespec="seconds"),
            self._modules[check.exercise],
            __version__,
        )
        if time.monotonic() - self._written > _SECONDS_BETWEEN_WRITES:
            self.flush()

    def flush(self) -> None:
        """Write what has not been written."""
        if self._workspace is None or not self._waiting:
            return
        results_file = ResultsFile(self._workspace)
        try:
            self.problem = results_file.write(self._waiting) or self.problem
        except OSError as error:
            self.problem = f"The results were not kept: {results_file.cannot_be_written(error)}."
        self._waiting = {}
        self._written = time.monotonic()


def current(results: Results, check: Check, module: str) -> Result | None:
    """The result of a check on this version of a module, by this version of the kit."""
    found = results.get(check.exercise, {}).get(check.name)
    return found if found is not None and (found.module, found.kit) == (module, __version__) else None


def module_hash(folder: Path, exercise: str) -> str:
    """The SHA-256 of an exercise's module and of the modules beside it that it imports.

    That of the whole run is over all parts.
    """
    contents: dict[str, bytes] = {}
    waiting = [f"{name}.py" for name in (PARTS if exercise == WHOLE_RUN else (exercise,))]
    while waiting:
        name = waiting.pop()
        if name not in contents:
            contents[name] = _read(folder / name)
            waiting += _imported_files(folder, contents[name])
    total = hashlib.sha256()
    for name, content in sorted(contents.items()):
        total.update(f"{name}\0{len(content)}\0".encode() + content)
    return total.hexdigest()


def _imported_files(folder: Path, source: bytes) -> list[str]:
    """The files of a folder that a module imports, also as a package or relatively."""
    if b"import" not in source:
        return []
    try:
        nodes = list(ast.walk(parse(source)))
    except SyntaxError:
        return []
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            names |= {*(node.module or "").split("."), *(alias.name for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {part for alias in node.names for part in alias.name.split(".")}
    found = []
    for name in names - {"", "*"}:
        if (folder / f"{name}.py").is_file():
            found.append(f"{name}.py")
        elif (folder / name).is_dir():
            found += [str(file.relative_to(folder)) for file in (folder / name).rglob("*.py")]
    return found


def _read(file: Path) -> bytes:
    try:
        return read_module(file)
    except OSError:
        # Its checks report that it is missing or cannot be read.
        return b""


def _result(entry: dict[str, Any]) -> Result:
    """An entry of the file. Raises KeyError, TypeError or ValueError if it is not one."""
    if entry["state"] not in ("passed", "failed"):
        raise ValueError("state")
    texts = (entry[key] for key in ("state", "code", "cause", "when", "module", "kit"))
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("a text")
    return Result(**{key: entry[key] for key in Result.__dataclass_fields__} | {"seconds": float(entry["seconds"])})


def _predictions(content: dict[str, Any], folder: str) -> Predictions:
    """A folder's predictions. Raises KeyError, TypeError or ValueError if an entry is not one."""
    return {
        exercise: {name: _prediction(entry) for name, entry in entries.items()}
        for exercise, entries in content.get("predictions", {}).get(folder, {}).items()
    }


def _prediction(entry: dict[str, Any]) -> Prediction:
    if not all(isinstance(entry[key], int | float | str) for key in ("answer", "measured")):
        raise ValueError("a prediction")
    if not (isinstance(entry["right"], bool) and isinstance(entry["when"], str) and isinstance(entry["kit"], str)):
        raise ValueError("a prediction")
    return Prediction(**{key: entry[key] for key in Prediction.__dataclass_fields__})


def _fault(error: Exception) -> str:
    return "was written by a newer kit" if isinstance(error, _OtherFormat) else "is damaged"
