"""An interrupted run: what it was asked for, and its folder. Imports no framework."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from kit.errors import UserError
from kit.run.folder import BEFORE_FILE, REQUEST_FILE, Checkpoint, RunFolder, lock_folder
from kit.run.json_records import read_record
from kit.run.result import RESULT_FILE, Checksums, RunInputs
from kit.run.style_evidence import StyleEvidence


@dataclass(frozen=True, kw_only=True)
class RunRequest(RunInputs):
    """What a run was asked for, as ``request.json`` has it."""

    checksums: Checksums = field(metadata={"key": "marks"})
    #: Sizes of the axes "batch" and "model".
    mesh: tuple[int, int]
    #: Steps between checkpoints; None: a tenth of all.
    save_every: int | None
    #: The size of the style evidence: "quick" or "full".
    evidence: str = "full"
    #: "tensor" or "fsdp".
    layout: str = "tensor"


@dataclass(frozen=True)
class InterruptedRun:
    """A run to resume."""

    #: Its folder as the user typed it.
    shown: str
    folder: RunFolder
    request: RunRequest
    #: The style before training.
    before: StyleEvidence
    #: The newest checkpoint that is not damaged, if the run has any.
    checkpoint: Checkpoint | None = None
    #: What is wrong with each newer one, in a sentence.
    damaged: tuple[str, ...] = ()

    def enter_working_folder(self) -> None:
        """Change to the folder that the run was started in. Raises UserError if it is gone."""
        working_folder = str(self.request.working_folder)
        try:
            os.chdir(working_folder)
        except OSError:
            raise UserError(
                f"--resume {self.shown}: the run was started in {working_folder}, which does not exist any more; "
                "its relative paths may refer to it."
            ) from None


def open_interrupted_run(shown: str, lock: bool = True) -> InterruptedRun:
    """Open the folder of an interrupted run, named as the user typed it.

    With ``lock``, no other process can resume the same run. Raises UserError if it is not the
    folder of an interrupted run, if a file in it is damaged, or if another process has it locked.
    """
    folder = Path(shown).absolute()
    if not folder.is_dir():
        raise UserError(f"--resume {shown}: there is no such folder.")
    if (folder / RESULT_FILE).is_file():
        raise UserError(f"--resume {shown}: this run is finished; there is nothing to resume.")
    if not ((folder / REQUEST_FILE).is_file() and (folder / BEFORE_FILE).is_file()):
        raise UserError(
            f"--resume {shown}: this is not the folder of an interrupted run; it has no {REQUEST_FILE} and "
            f"{BEFORE_FILE}."
        )
    try:
        request = read_record(RunRequest, Path(shown) / REQUEST_FILE)
        before = read_record(StyleEvidence, Path(shown) / BEFORE_FILE)
    except UserError as error:
        raise UserError(f"--resume {error}") from None
    descriptor = lock_folder(folder) if lock else None
    if lock and descriptor is None:
        raise UserError(f"--resume {shown}: another process is working on this run; wait for it, or stop it first.")
    run_folder = RunFolder(folder, descriptor)
    try:
        checkpoint, damaged = _usable_checkpoint(run_folder, shown)
    except UserError:
        run_folder.close()
        raise
    return InterruptedRun(shown, run_folder, request, before, checkpoint, damaged)


def _usable_checkpoint(folder: RunFolder, shown: str) -> tuple[Checkpoint | None, tuple[str, ...]]:
    """The newest checkpoint that is not damaged, and what is wrong with those after it."""
    damaged: list[str] = []
    for checkpoint in folder.checkpoints():
        if not (fault := checkpoint.fault()):
            return checkpoint, tuple(damaged)
        damaged.append(f"the checkpoint after step {checkpoint.step} is damaged ({fault})")
    if damaged:
        raise UserError(f"--resume {shown}: {' and '.join(damaged)}: start a new run with the same options.")
    return None, ()
