"""The training of a run, by ``finetune`` of the part ``training``, and its summary."""

from collections.abc import Sequence

import keras_hub
import numpy as np

from kit.parts.protocols import TrainingPart
from kit.run.metrics import StepRecord
from kit.run.recorder import StepRecorder
from kit.run.result import TrainingSummary


def train_remaining_steps(
    part: TrainingPart, model: keras_hub.models.CausalLM, batches: list[list[str]], epochs: int, recorder: StepRecorder
) -> None:
    """Train all steps that the recorder has not recorded yet."""
    epoch, offset = divmod(recorder.done, len(batches))
    if offset:
        part.finetune(model, batches[offset:], epochs=1, callbacks=[recorder])
        epoch += 1
    if epoch < epochs:
        part.finetune(model, batches, epochs=epochs - epoch, callbacks=[recorder])


def training_summary(records: Sequence[StepRecord], seconds: float, first: int) -> TrainingSummary:
    """Summarize training in this process, from the step of index ``first`` on, which compiles."""
    third = max(1, len(records) // 3)
    after_first = records[-1].seconds - records[first].seconds
    return TrainingSummary(
        steps=len(records),
        seconds=round(seconds, 2),
        milliseconds_per_step=round(1000 * after_first / max(1, len(records) - first - 1), 2),
        first_loss=float(np.mean([record.loss for record in records[:third]])),
        last_loss=float(np.mean([record.loss for record in records[-third:]])),
        mean_loss=records[-1].mean_loss,
        mean_accuracy=records[-1].mean_accuracy,
    )
