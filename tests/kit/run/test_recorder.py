"""Recording of losses, and the checkpoints that a run resumes from with exact losses."""

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from command_line import heed_interrupts
from full_disk import small_disk
from made_run import Listener

from kit.course.shared import small_models as small
from kit.narrator import Narrator
from kit.parts.implementation import find_parts
from kit.run.folder import RunFolder, new_run_folder
from kit.run.recorder import LossIsNotFiniteError, LossOfStep, Schedule, StepRecorder, prepare_for_recording
from kit.run.resume import restore_training
from kit.run.training import train_remaining_steps
from kit.runtime.interrupts import INTERRUPTS, RunStopped

PARTS = find_parts("reference")
STEPS_PER_EPOCH, EPOCHS = 3, 2


def tiny_model(seed: int, late: bool = True) -> Any:
    """A compiled model with dropout, whose random state must resume too."""
    keras.utils.set_random_seed(seed)
    model = small.small_model(rank=3, num_layers=1, dropout=0.25)
    PARTS.training.compile_for_finetuning(model, 0.01, 0.01)
    model.optimizer.build(model.trainable_variables)
    prepare_for_recording(model, late)
    return model


def made_recorder(
    folder: RunFolder, save_every: int = 4, narrator: Narrator | None = None, kind: type[StepRecorder] = StepRecorder
) -> StepRecorder:
    """A recorder of two epochs of three batches."""
    schedule = Schedule(STEPS_PER_EPOCH, EPOCHS, save_every)
    return kind(folder, PARTS.checkpoint, schedule, narrator or Narrator(), 0.0, folder.newest_checkpoint())


class Interrupted(StepRecorder):
    """Is interrupted after step 5."""

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        super().on_train_batch_end(batch, logs)
        if self.done == 5:
            raise KeyboardInterrupt


def test_losses_after_resuming_are_exact(tmp_path: Path) -> None:
    """Two epochs of three batches, interrupted in the second."""
    small.set_distribution(1, 8)
    texts = small.texts(12)
    batches = [list(texts[first : first + 4]) for first in (0, 4, 8)]
    keras.config.disable_interactive_logging()
    uninterrupted = made_recorder(new_run_folder(tmp_path, "uninterrupted", {}, {}))
    train_remaining_steps(PARTS.training, tiny_model(1), batches, EPOCHS, uninterrupted)
    assert uninterrupted.done == 6

    folder = new_run_folder(tmp_path, "interrupted", {}, {})
    first = made_recorder(folder, kind=Interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_remaining_steps(PARTS.training, tiny_model(1), batches, EPOCHS, first)
    checkpoint = folder.newest_checkpoint()
    assert checkpoint.step == 4
    fresh = tiny_model(2)
    restore_training(PARTS.checkpoint, fresh, checkpoint)
    second = made_recorder(folder)
    assert second.done == 4
    train_remaining_steps(PARTS.training, fresh, batches, EPOCHS, second)
    assert second.resumed == (4,)
    losses, expected = ([record.loss for record in each.records] for each in (second, uninterrupted))
    assert len(set(expected)) == 6
    np.testing.assert_allclose(losses, expected, rtol=1e-6)
    # The running means, which start over with each epoch, resume in the middle of one.
    for one, other in zip(second.records, uninterrupted.records, strict=True):
        assert one.mean_loss == pytest.approx(other.mean_loss, rel=1e-6)
        assert one.mean_accuracy == pytest.approx(other.mean_accuracy, rel=1e-6)
    lines = (folder.path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("epochs", [1, 2])
def test_late_logs_give_the_same_records(tmp_path: Path, epochs: int) -> None:
    """Each step is recorded once, one step later; checkpoints have all steps up to theirs."""
    small.set_distribution(1, 8)
    texts = small.texts(12)
    batches = [list(texts[first : first + 4]) for first in (0, 4, 8)]
    keras.config.disable_interactive_logging()
    records = {}
    for late in (False, True):
        folder = new_run_folder(tmp_path, f"late-{late}", {}, {})
        schedule = Schedule(STEPS_PER_EPOCH, epochs, 2)
        seen: list[tuple[int, int]] = []

        class Watched(StepRecorder):
            """Notes how many steps are recorded when each step has been started."""

            def on_train_batch_end(self, batch: int, logs: Any = None, seen: Any = seen) -> None:
                super().on_train_batch_end(batch, logs)
                seen.append((self.done, len(self.records)))

        recorder = Watched(folder, PARTS.checkpoint, schedule, Narrator(), 0.0)
        history = PARTS.training.finetune(tiny_model(1, late), batches, epochs, [recorder])
        assert [done for done, _ in seen] == list(range(1, STEPS_PER_EPOCH * epochs + 1))
        # A checkpoint, the first step and the last wait for the loss; other steps do not.
        assert [done - recorded for done, recorded in seen][:3] == (
            [0, 0, 1 if epochs == 2 else 0] if late else [0] * 3
        )
        checkpoint = folder.newest_checkpoint()
        assert checkpoint is not None
        assert len(checkpoint.read_progress().records) == checkpoint.step == STEPS_PER_EPOCH * epochs
        assert history.history["loss"][-1] == pytest.approx(recorder.records[-1].mean_loss, rel=1e-6)
        records[late] = [
            (record.step, record.loss, record.mean_loss, record.mean_accuracy) for record in recorder.records
        ]
    assert records[True] == records[False]


def test_a_loop_over_train_on_batch_gets_the_logs_of_its_steps() -> None:
    small.set_distribution(1, 8)
    texts = small.texts(12)
    losses = []
    for late in (False, True):
        model = tiny_model(1, late)
        logs = [model.train_on_batch(list(texts[first : first + 4]), return_dict=True) for first in (0, 4, 8)]
        losses.append([found["step_loss"] for found in logs])
    assert losses[0] == losses[1]
    assert len(set(losses[0])) == 3


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C has its effect, also if the tests run in the background of a shell."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


@pytest.mark.usefixtures("interruptible")
def test_keras_discards_ctrl_c_while_it_reads_logs() -> None:
    """Why Ctrl-C does not simply raise KeyboardInterrupt while a model trains."""

    class Interrupted:
        was_read = False

        def __float__(self) -> float:
            self.was_read = True
            raise KeyboardInterrupt

    loss, seen = Interrupted(), []
    callback = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(logs))
    callbacks = keras.callbacks.CallbackList([callback], model=small.small_model(rank=0, num_layers=1))
    callbacks.on_train_batch_end(0, {"loss": loss})
    assert loss.was_read
    assert seen == [{"loss": loss}]


def test_ctrl_c_stops_after_the_step_with_a_checkpoint(tmp_path: Path) -> None:
    heed_interrupts()

    class Pressed(StepRecorder):
        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            if self.done == 1:
                os.kill(os.getpid(), signal.SIGINT)

    small.set_distribution(1, 8)
    batches = [list(small.texts(4))] * STEPS_PER_EPOCH
    folder = new_run_folder(tmp_path, "a-run", {}, {})
    recorder = made_recorder(folder, kind=Pressed)
    with INTERRUPTS.handled(), INTERRUPTS.deferred(), pytest.raises(RunStopped):
        train_remaining_steps(PARTS.training, tiny_model(1), batches, EPOCHS, recorder)
    assert recorder.done == 2
    assert folder.newest_checkpoint().step == 2


def test_training_continues_on_a_full_disk(tmp_path: Path) -> None:
    listener = Listener()
    small.set_distribution(1, 8)
    batches = [list(small.texts(4))] * STEPS_PER_EPOCH

    class Fills(StepRecorder):
        """The disk is full in steps 2 to 4, when only the checkpoint after step 1 is there."""

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            if self.done == 1:
                (disk / "filler").write_bytes(bytes(shutil.disk_usage(disk).free))
            elif self.done == 4:
                (disk / "filler").unlink()

    with small_disk(tmp_path / "disk", 3_000_000) as disk:
        folder = new_run_folder(disk, "a-run", {}, {})
        recorder = made_recorder(folder, save_every=1, narrator=listener, kind=Fills)
        train_remaining_steps(PARTS.training, tiny_model(1), batches, EPOCHS, recorder)
        assert recorder.done == 6
        assert [checkpoint.step for checkpoint in folder.checkpoints()] == [6, 5]
        assert not any(checkpoint.fault() for checkpoint in folder.checkpoints())
        steps = [json.loads(line)["step"] for line in (folder.path / "metrics.jsonl").read_text().splitlines()]
        assert steps == [1, 2, 3, 4, 5, 6]
    assert listener.lines == [
        f"warning: cannot write the checkpoint after step {step} (No space left on device); training continues"
        for step in (2, 3, 4)
    ]


def test_the_loss_of_a_step() -> None:
    metric = LossOfStep()
    losses = [4.1, 3.9, 2.25]
    for loss in losses:
        metric.update_state(loss, sample_weight=8)
    found = {name: float(value) for name, value in metric.result().items()}
    assert found == {"loss": pytest.approx(np.mean(losses), rel=1e-6), "step_loss": pytest.approx(2.25, rel=1e-7)}


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    recorder = made_recorder(new_run_folder(tmp_path, "a-run", {}, {}))
    with pytest.raises(LossIsNotFiniteError, match="The loss of step 1 is nan: the learning rate is too high"):
        recorder.on_train_batch_end(0, {"loss": float("nan")})


def test_a_loop_that_updates_the_model_at_its_end_gets_a_warning(tmp_path: Path) -> None:
    listener = Listener()
    small.set_distribution(1, 8)
    folder = new_run_folder(tmp_path, "a-run", {}, {})
    recorder = made_recorder(folder, save_every=1, narrator=listener)
    recorder.set_model(tiny_model(1))
    for number in range(2):
        recorder.on_train_batch_end(number, {"loss": 2.0})
    (sentence,) = listener.lines
    assert "updates the model only at its end (0 steps in the model, 1 done)" in sentence
    assert folder.newest_checkpoint() is None
