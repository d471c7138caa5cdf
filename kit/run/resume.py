"""Resuming an interrupted run: the same inputs, and the training state of its newest checkpoint."""

import keras_hub
import numpy as np

from kit.errors import UserError
from kit.files import is_disk_error
from kit.narrator import Narrator
from kit.parts.protocols import CheckpointPart
from kit.run.folder import Checkpoint, RunFolder
from kit.run.interrupted import InterruptedRun
from kit.run.metrics import METRICS_FILE
from kit.run.recorder import LossIsNotFiniteError, seed_variables
from kit.run.result import Checksums


def check_inputs_unchanged(interrupted: InterruptedRun, now: Checksums) -> None:
    """Raise a UserError that names the changed inputs, if reviews or weights have changed."""
    request = interrupted.request
    changed = ""
    if now.batches != request.checksums.batches:
        changed = f"the reviews of {request.settings.data} or their order have changed"
    elif now.weights != request.checksums.weights:
        changed = f"the weights of {request.preset} have changed"
    if changed:
        raise UserError(f"--resume {interrupted.shown}: {changed}; restore them, or start a new run.")


def restore_training(part: CheckpointPart, model: keras_hub.models.CausalLM, checkpoint: Checkpoint | None) -> None:
    """Restore the training state of a checkpoint, and the states of the random generators.

    Raises UserError if the checkpoint cannot be read.
    """
    if checkpoint is None:
        return
    try:
        part.resume_training(model, checkpoint.training_state)
    except OSError as error:
        raise UserError(
            f"Cannot read the checkpoint {checkpoint.folder.name} ({error}); start a new run with the same options."
        ) from error
    for variable, state in zip(seed_variables(model), checkpoint.read_progress().seed_states, strict=True):
        variable.assign(np.array(state, dtype=variable.dtype))


def keep_or_remove(folder: RunFolder, shown: str, error: BaseException, narrator: Narrator) -> None:
    """Keep the folder of a run that failed if it has a checkpoint; otherwise delete it.

    Raises UserError if the run failed because its folder cannot be written to; then the folder is
    kept if it has the losses of at least one step.
    """
    checkpoint, disk_error = folder.newest_checkpoint(), is_disk_error(error)
    losses = folder.path / METRICS_FILE
    if checkpoint is None and not (disk_error and losses.is_file() and losses.stat().st_size):
        folder.remove()
    if isinstance(error, OSError) and disk_error:
        resume = (
            f"`kit run --resume {shown}`, which resumes after step {checkpoint.step}" if checkpoint else "run again"
        )
        raise UserError(
            f"{shown}: cannot write to it ({error.strerror or error}){'' if checkpoint else '; it has no checkpoint'}: "
            f"free some space, then {resume}."
        ) from error
    if checkpoint and isinstance(error, LossIsNotFiniteError):
        narrator.say(f"{shown}/{METRICS_FILE} has the losses")
    elif checkpoint:
        narrator.say(f"interrupted; `kit run --resume {shown}` resumes after step {checkpoint.step}")
