"""Resuming an interrupted run: the same inputs, and the training state of its newest checkpoint."""

import keras_hub
import numpy as np

from kit.errors import UserError
from kit.narrator import Narrator
from kit.parts.protocols import CheckpointPart
from kit.run.folder import Checkpoint, RunFolder
from kit.run.interrupted import InterruptedRun
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

    Raises UserError if the run failed because its folder cannot be written to.
    """
    checkpoint = folder.newest_checkpoint()
    if checkpoint is None:
        folder.remove()
    elif isinstance(error, LossIsNotFiniteError):
        narrator.say(f"{shown}/metrics.jsonl has the losses")
    else:
        narrator.say(f"interrupted; `kit run --resume {shown}` resumes after step {checkpoint.step}")
        if isinstance(error, OSError):
            raise UserError(
                f"{shown}: cannot write to it ({error.strerror or error}): free some space, then `kit run --resume "
                f"{shown}`."
            ) from error
