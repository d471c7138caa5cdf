"""What a run keeps of its training steps: their losses, exactly, and a save every so often."""

import json
import math
import time
import types
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras

from kit.errors import UserError
from kit.files import write_text
from kit.run.multi_process import whole_values
from kit.narrator import Narrator
from kit.run.folder import RunFolder, Save
from kit.runtime.processes import SINGLE_PROCESS, Processes


class LossIsNotFiniteError(UserError):
    """Training has diverged."""


class LossOfStep(keras.metrics.Mean):
    """Keras' running mean of the loss, and beside it the loss of the last step alone.

    From the differences of running means that loss comes out with an error that grows with the steps: 1e-5 after a hundred.
    """

    def __init__(self) -> None:
        super().__init__(name="loss")
        self.last = self.add_variable((), initializer="zeros", name="last")

    def update_state(self, values: Any, sample_weight: Any = None) -> None:
        """Take the loss of a step."""
        self.last.assign(keras.ops.cast(values, self.last.dtype))
        super().update_state(values, sample_weight=sample_weight)

    def result(self) -> dict[str, Any]:
        """Both, by their names in a log."""
        return {"loss": super().result(), "step_loss": self.last.value}


def prepare_for_recording(model: Any) -> None:
    """Have a compiled model report the loss of each step, and keep what ``fit`` hands it as it is.

    ``fit`` stores all arrays of the state in ``model._jax_state`` after each step. Keras looks through what is assigned to a layer for
    variables and layers, and wraps each list: 10 to 15 ms a step at 28 decoder blocks, for arrays that are neither.
    """
    model._loss_tracker = LossOfStep()
    model._setattr_hook = _untracked_state


def _untracked_state(name: str, value: Any) -> tuple[str, Any]:
    # A view of the dictionary is none to Keras.
    return name, types.MappingProxyType(value) if name == "_jax_state" and isinstance(value, dict) else value


@dataclass(frozen=True)
class StepRecord:
    """One training step, as it is written to ``metrics.jsonl``."""

    step: int
    #: Loss of this step's batch.
    loss: float
    #: Mean since the epoch began: what the progress bar shows, and what the tutorial prints at its end.
    mean_loss: float
    mean_accuracy: float | None
    #: Of training until then, compilation included, in all sessions of the run.
    seconds: float

    @property
    def line(self) -> str:
        """It as a line of ``metrics.jsonl``."""
        return json.dumps(asdict(self)) + "\n"


class StepRecorder(keras.callbacks.Callback):
    """Keeps the metrics of each step and writes them down as they come, and makes the saves that a run goes on from."""

    def __init__(
        self,
        folder: RunFolder | None,
        save_training: Callable[[Any, Path], None],
        steps_per_epoch: int,
        steps: int,
        save_every: int,
        narrator: Narrator,
        run_started: float,
        save: Save | None = None,
        processes: Processes = SINGLE_PROCESS,
    ) -> None:
        """Go on after ``save``, if there is one.

        Args:
            folder: The run's; None in a process that writes nothing.
            save_training: The part that writes what was trained.
            steps_per_epoch: Batches.
            steps: In all epochs.
            save_every: Steps from one save to the next. There is also one after the last step.
            narrator: Is told of each step.
            run_started: When this process began the run, by ``time.perf_counter``.
            save: The run's newest.
            processes: Those that train together.

        """
        super().__init__()
        self._folder = folder
        self._save_training = save_training
        self._steps_per_epoch = steps_per_epoch
        self._steps = steps
        self._save_every = save_every
        self._processes = processes
        self._narrator = narrator
        self._warned: set[str] = set()
        progress: dict[str, Any] = (
            save.progress if save else {"records": [], "metrics": [], "resumed": [], "seconds": 0.0}
        )
        self.records = [StepRecord(**record) for record in progress["records"]]
        self._saved_metrics: list[Any] = progress["metrics"]
        #: Steps that were done when the run was gone on with.
        self.resumed: list[int] = progress["resumed"] + ([save.step] if save else [])
        #: That earlier processes were at the run, until its newest save.
        self.seconds_before: float = progress["seconds"]
        self._run_started = run_started
        self._before = self.records[-1].seconds if self.records else 0.0
        self._started = time.perf_counter()
        if folder:
            write_text(folder.path / "metrics.jsonl", "".join(record.line for record in self.records))

    @property
    def done(self) -> int:
        """Steps."""
        return len(self.records)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Running means start anew with each epoch, or go on where the save was made in the middle of one."""
        variables = self.model.metrics_variables
        if self.done % self._steps_per_epoch and len(variables) == len(self._saved_metrics):
            for variable, value in zip(variables, self._saved_metrics, strict=True):
                variable.assign(value)
        self._saved_metrics = []

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Record a step, save if it is time to, and stop where the loss is no number."""
        values = {name: float(value) for name, value in (logs or {}).items()}
        in_epoch = self.done % self._steps_per_epoch
        mean = values["loss"]
        previous = self.records[-1].mean_loss if in_epoch else 0.0
        record = StepRecord(
            step=self.done + 1,
            # A training loop of one's own may report the running mean alone.
            loss=values.get("step_loss", mean * (in_epoch + 1) - previous * in_epoch),
            mean_loss=mean,
            mean_accuracy=next((value for name, value in values.items() if "accuracy" in name), None),
            seconds=round(self._before + time.perf_counter() - self._started, 3),
        )
        self.records.append(record)
        self._narrator.progress(record.step, self._steps, mean)
        if self._folder:
            self._trying("metrics.jsonl", lambda: self._append(record))
        if not math.isfinite(record.loss):
            raise LossIsNotFiniteError(
                f"The loss of step {record.step} is {record.loss}: the learning rate is too high for this model, or the dtype has "
                "too small a range; lower --learning-rate."
            )
        if record.step % self._save_every == 0 or record.step == self._steps:
            self._save(record.step)

    def _append(self, record: StepRecord) -> None:
        assert self._folder
        with (self._folder.path / "metrics.jsonl").open("a", encoding="utf-8") as lines:
            lines.write(record.line)

    def _save(self, step: int) -> None:
        # `fit` has the values, and gives them to the model's variables when it is asked to.
        self.model.jax_state_sync()
        if int(self.model.optimizer.iterations) != step:
            self._warn(
                "kept",
                f"warning: finetune keeps what it has trained to itself until it ends ({int(self.model.optimizer.iterations)} "
                f"steps in the model, {step} done), so there is no save to go on from",
            )
            return
        progress = {
            "records": [asdict(record) for record in self.records],
            "resumed": self.resumed,
            "seconds": self.seconds_before + time.perf_counter() - self._run_started,
            "metrics": [
                keras.ops.convert_to_numpy(variable.value).tolist() for variable in self.model.metrics_variables
            ],
            "seed_states": [
                keras.ops.convert_to_numpy(variable.value).tolist() for variable in seed_variables(self.model)
            ],
        }
        trained = [*self.model.trainable_variables, *self.model.optimizer.variables]
        with whole_values(trained, self._processes):
            if folder := self._folder:
                self._trying(
                    f"the save after step {step}",
                    lambda: folder.save(step, lambda path: self._save_training(self.model, path), progress),
                )

    def _trying(self, what: str, write: Callable[[], None]) -> None:
        """Write something without which the training can go on."""
        try:
            write()
        except OSError as error:
            self._warn(what, f"warning: {what} could not be written ({error.strerror or error}); training goes on")

    def _warn(self, what: str, sentence: str) -> None:
        if what not in self._warned:
            self._warned.add(what)
            self._narrator.say(sentence)


def seed_variables(model: Any) -> list[Any]:
    """The states of a model's random generators, which dropout moves on with each step, in their order.

    Their paths have numbers that Keras counts on within a process.
    """
    return [variable for variable in model.non_trainable_variables if variable.path.endswith("seed_generator_state")]
