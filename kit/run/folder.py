"""The folder of a run. Files and checkpoints are written atomically. Imports no framework.

During the run the folder has ``request.json`` (what was asked for), ``before.json`` (the style
before training), ``metrics.jsonl`` and ``saves/step-000120/`` (the two newest checkpoints). A
finished run has ``run.json``, which is written last.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kit.errors import UserError
from kit.files import new_folder, write_json
from kit.run.json_records import as_json, read_record
from kit.run.metrics import Progress
from kit.run.result import RESULT_FILE, RunResult

REQUEST_FILE, BEFORE_FILE = "request.json", "before.json"
_CHECKPOINTS = "saves"
_CHECKSUMS = "checksums.json"
#: A damaged checkpoint costs the steps since the one before.
KEPT_CHECKPOINTS = 2
_CHECKPOINT = re.compile(r"step-(\d+)")


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint."""

    #: Training steps that are done.
    step: int
    folder: Path

    @property
    def training_state(self) -> Path:
        """The folder that ``save_training`` of the part ``checkpoint`` wrote."""
        return self.folder / "adapters"

    def read_progress(self) -> Progress:
        """Read what else the run resumes from. Raises UserError if it is missing or damaged."""
        return read_record(Progress, self.folder / "progress.json")

    def fault(self) -> str:
        """What is wrong with the files, compared with their checksums; empty if nothing is."""
        try:
            expected = json.loads((self.folder / _CHECKSUMS).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return f"{_CHECKSUMS} is missing or damaged"
        try:
            found = _checksums(self.folder)
        except OSError as error:
            return f"{Path(str(error.filename)).name} cannot be read ({error.strerror})"
        differing = sorted(dict(expected.items() ^ found.items()))
        if not differing:
            return ""
        return f"{differing[0]} {'is damaged' if differing[0] in found else 'is missing'}"


def _checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of a checkpoint."""
    sums = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != _CHECKSUMS:
            with path.open("rb") as file:
                sums[str(path.relative_to(folder))] = hashlib.file_digest(file, "sha256").hexdigest()
    return sums


class RunFolder:
    """A run's folder, which this process has locked until :meth:`close`."""

    def __init__(self, path: Path, lock: int | None) -> None:
        """Call :func:`new_run_folder` or ``kit.run.interrupted.open_interrupted_run`` instead."""
        self.path = path
        self._lock = lock

    def checkpoints(self) -> list[Checkpoint]:
        """The complete checkpoints, the newest first."""
        found = [
            Checkpoint(int(match[1]), folder)
            for folder in (self.path / _CHECKPOINTS).glob("step-*")
            if (match := _CHECKPOINT.fullmatch(folder.name))
        ]
        return sorted(found, key=lambda checkpoint: checkpoint.step, reverse=True)

    def newest_checkpoint(self) -> Checkpoint | None:
        """The newest complete checkpoint, if there is one."""
        return next(iter(self.checkpoints()), None)

    def write_checkpoint(self, step: int, write_state: Callable[[Path], None], progress: Progress) -> None:
        """Write a checkpoint after this many steps, and keep only the one before besides.

        ``write_state`` writes the training state to a folder, which it creates. Raises OSError if
        that fails; a checkpoint before is then still there.
        """
        final = self.path / _CHECKPOINTS / f"step-{step:06}"
        # A damaged one that the run did not resume from.
        shutil.rmtree(final, ignore_errors=True)

        def write() -> None:
            with new_folder(final) as unfinished:
                write_state(unfinished / "adapters")
                write_json(unfinished / "progress.json", as_json(progress))
                write_json(unfinished / _CHECKSUMS, _checksums(unfinished))

        self.with_space(write)
        earlier = [checkpoint for checkpoint in self.checkpoints() if checkpoint.step < step]
        kept = {final, *(checkpoint.folder for checkpoint in earlier[: KEPT_CHECKPOINTS - 1])}
        for other in final.parent.iterdir():
            if other not in kept:
                shutil.rmtree(other, ignore_errors=True)

    def with_space(self, write: Callable[[], None]) -> None:
        """Write something; if the disk is full, delete checkpoints except the newest, and retry."""
        try:
            write()
        except OSError as error:
            older = self.checkpoints()[1:]
            if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not older:
                raise
            for checkpoint in older:
                shutil.rmtree(checkpoint.folder, ignore_errors=True)
            write()

    def finish(self, files: Mapping[str, Any], result: RunResult, write_state: Callable[[Path], None]) -> None:
        """Write the files of a finished run, then delete what only resuming needs.

        ``files`` has the content of JSON files by their names; the result's ``run.json`` is written
        after them. ``write_state`` writes the training state to a folder, which it creates.
        """

        def write() -> None:
            adapters = self.path / "adapters"
            if not adapters.exists():
                with new_folder(adapters) as unfinished:
                    # The part creates the folder itself.
                    unfinished.rmdir()
                    write_state(unfinished)
            for name, content in files.items():
                write_json(self.path / name, as_json(content))
            result.write(self.path / RESULT_FILE)

        self.with_space(write)
        shutil.rmtree(self.path / _CHECKPOINTS, ignore_errors=True)
        for name in (REQUEST_FILE, BEFORE_FILE):
            (self.path / name).unlink(missing_ok=True)

    def remove(self) -> None:
        """Delete the folder of a run that left no checkpoint."""
        shutil.rmtree(self.path, ignore_errors=True)

    def close(self) -> None:
        """Release the lock."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def new_run_folder(runs_folder: Path, name: str, request: Any, before: Any) -> RunFolder:
    """Create the folder of a new run. If the name is taken, a number is appended.

    ``request`` and ``before`` are the contents of ``request.json`` and ``before.json``. Raises
    UserError if the folder cannot be created.
    """
    folder = None
    try:
        folder = _create(runs_folder, name)
        lock = lock_folder(folder)
        assert lock is not None, "another process has locked a new folder"
        write_json(folder / BEFORE_FILE, as_json(before))
        write_json(folder / REQUEST_FILE, as_json(request))
    except OSError as error:
        if folder:
            shutil.rmtree(folder, ignore_errors=True)
        raise UserError(f"--runs {runs_folder}: cannot create a folder there ({error.strerror}).") from None
    return RunFolder(folder, lock)


def _create(runs_folder: Path, name: str) -> Path:
    number = 1
    while True:
        folder = runs_folder / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            if not folder.is_dir():
                raise
            number += 1
        else:
            return folder


def lock_folder(folder: Path) -> int | None:
    """A descriptor that locks the folder until the process ends; None if another process has it."""
    descriptor = os.open(folder, os.O_RDONLY)
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return descriptor
    os.close(descriptor)
    return None
