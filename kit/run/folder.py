"""The folder of a run: saves that are whole or not there, and what it takes to go on from the last of them.

While a run goes on its folder has ``request.json`` (what was asked for), ``before.json`` (the style before tuning), ``metrics.jsonl``
and ``saves/step-000120/`` (the newest save alone). Once it is finished it has ``run.json``, which is written last. Imports no framework.
"""

import fcntl
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kit.errors import UserError
from kit.files import new_folder, write_json

_SAVE = re.compile(r"step-(\d+)")


@dataclass(frozen=True)
class Save:
    """A save that is whole."""

    #: Training steps that were done.
    step: int
    folder: Path

    @property
    def adapters(self) -> Path:
        """What the part ``save_training`` wrote."""
        return self.folder / "adapters"

    @property
    def progress(self) -> dict[str, Any]:
        """What else the run was at."""
        return json.loads((self.folder / "progress.json").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class FinishedRun:
    """A run that has ended as it should."""

    #: Its folder as it was given.
    shown: str
    #: What the part ``save_training`` wrote.
    adapters: Path
    preset: str
    #: The parts that it was made with, and whether what was to be written was taken from the reference.
    implementation: str
    filled: bool
    settings: dict[str, Any]
    #: Sizes of the axes "batch" and "model".
    mesh: tuple[int, int]
    steps: int
    #: Of its prompt, by the tuned model.
    completion: str
    #: Of the weights that were tuned, as they were before.
    mark_of_weights: str
    #: What relative paths in its settings are relative to.
    working_folder: str


class RunFolder:
    """A run's folder, held by this process alone until it is left."""

    def __init__(self, path: Path, lock: int | None) -> None:
        """Made by :func:`new_run` and :func:`unfinished_run`."""
        self.path = path
        self._lock = lock

    @property
    def _saves(self) -> Path:
        return self.path / "saves"

    def newest_save(self) -> Save | None:
        """The last save that was finished, if there is one."""
        found = [
            Save(int(match[1]), folder)
            for folder in self._saves.glob("step-*")
            if (match := _SAVE.fullmatch(folder.name))
        ]
        return max(found, key=lambda save: save.step, default=None)

    def save(self, step: int, write: Callable[[Path], None], progress: dict[str, Any]) -> None:
        """Make a save, or leave things as they were. Then the one before goes away.

        Args:
            step: Training steps that are done.
            write: Writes what was trained to a folder, which it creates.
            progress: What else the run is at.

        Raises:
            OSError: if it cannot be written. Then the save before is still there.

        """
        with new_folder(self._saves / f"step-{step:06}") as unfinished:
            write(unfinished / "adapters")
            write_json(unfinished / "progress.json", progress)
        for older in self._saves.iterdir():
            if older.name != f"step-{step:06}":
                shutil.rmtree(older, ignore_errors=True)

    def finish(self, files: dict[str, Any], write_adapters: Callable[[Path], None]) -> None:
        """Write what is left of a run, ``run.json`` at the very last, and remove what it took to go on.

        Args:
            files: Name of a JSON file -> its content.
            write_adapters: Writes what was trained to a folder, which it creates.

        """
        adapters = self.path / "adapters"
        if not adapters.exists():
            with new_folder(adapters) as unfinished:
                # The part makes the folder that it is given.
                unfinished.rmdir()
                write_adapters(unfinished)
        for name, content in sorted(files.items(), key=lambda item: item[0] == "run.json"):
            write_json(self.path / name, content)
        shutil.rmtree(self._saves, ignore_errors=True)
        for name in ("request.json", "before.json"):
            (self.path / name).unlink(missing_ok=True)

    def remove(self) -> None:
        """Take it away: a run that left nothing to go on from."""
        shutil.rmtree(self.path, ignore_errors=True)

    def close(self) -> None:
        """Let other processes have it."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def new_run(runs_folder: Path, name: str, request: dict[str, Any], before: dict[str, Any]) -> RunFolder:
    """Make the folder of a new run. If another has its name, a number is added.

    Args:
        runs_folder: Where it is made.
        name: Its name.
        request: What was asked for.
        before: The style before tuning.

    Raises:
        UserError: if it cannot be made.

    """
    try:
        folder = _first_free(runs_folder, name)
        lock = _locked(folder)
        assert lock is not None, "another process has a folder that was just made"
        write_json(folder / "before.json", before)
        write_json(folder / "request.json", request)
    except OSError as error:
        raise UserError(f"--runs {runs_folder}: no folder can be made there ({error.strerror}).") from None
    return RunFolder(folder, lock)


def unfinished_run(shown: str, hold: bool = True) -> tuple[RunFolder, dict[str, Any], dict[str, Any]]:
    """Open the folder of a run that was broken off.

    Args:
        shown: The folder as it was given.
        hold: Keep other processes from it.

    Returns:
        The folder, what was asked for, and the style before tuning.

    Raises:
        UserError: if it is no such folder, if the run is finished, or if a process is still at it.

    """
    folder = Path(shown).absolute()
    if not folder.is_dir():
        raise UserError(f"--resume {shown}: there is no such folder.")
    if (folder / "run.json").is_file():
        raise UserError(f"--resume {shown}: this run is finished; there is nothing to go on with.")
    try:
        request, before = (
            json.loads((folder / name).read_text(encoding="utf-8")) for name in ("request.json", "before.json")
        )
        if not (isinstance(request, dict) and isinstance(before, dict)):
            raise TypeError
    except FileNotFoundError:
        raise UserError(
            f"--resume {shown}: this is not the folder of a run that was broken off; it has no request.json and before.json."
        ) from None
    except (ValueError, TypeError, OSError):
        raise UserError(
            f"--resume {shown}: its request.json or before.json is damaged; begin a new run with the same options."
        ) from None
    lock = _locked(folder) if hold else None
    if hold and lock is None:
        raise UserError(f"--resume {shown}: a process is still at this run; wait for it, or end it first.")
    run = RunFolder(folder, lock)
    save = run.newest_save()
    try:
        _ = save and save.progress["metrics"]
    except (ValueError, KeyError, OSError):
        raise UserError(
            f"--resume {shown}: its save, {save.folder.name if save else ''}, is damaged; begin a new run with the same options."
        ) from None
    return run, request, before


def finished_run(shown: str) -> FinishedRun:
    """Read what a finished run left.

    Args:
        shown: Its folder as it was given.

    Raises:
        UserError: if it is no such folder, if the run is not finished, or if something is damaged or missing.

    """
    folder = Path(shown).absolute()
    if not folder.is_dir():
        raise UserError(f"{shown}: there is no such folder.")
    if not (folder / "run.json").is_file():
        if (folder / "request.json").is_file():
            raise UserError(f"{shown}: this run is not finished; `kit run --resume {shown}` goes on with it.")
        raise UserError(f"{shown}: this is not the folder of a run; it has no run.json.")
    try:
        result = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        found = FinishedRun(
            shown,
            folder / "adapters",
            str(result["preset"]),
            str(result["implementation"]),
            bool(result["filled"]),
            dict(result["settings"]),
            (int(result["mesh"]["batch"]), int(result["mesh"]["model"])),
            int(result["training"]["steps"]),
            str(result["generations"]["after"]),
            str(result["marks"]["weights"]),
            str(result["working_folder"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{shown}: its run.json is damaged, or of an older kit: the run must be made again.") from None
    if not found.adapters.is_dir():
        raise UserError(f"{shown}: its adapters are not there any more: the run must be made again.")
    return found


def _first_free(runs_folder: Path, name: str) -> Path:
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


def _locked(folder: Path) -> int | None:
    """A descriptor with a lock on the folder, which goes away with the process. None if another process has it."""
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock
