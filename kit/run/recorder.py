"""A callback that records the loss of each training step exactly and writes checkpoints."""

import functools
import math
import time
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import keras_hub
from keras.src.utils.python_utils import pythonify_logs

from kit.errors import UserError
from kit.files import write_text
from kit.narrator import Narrator
from kit.parts.protocols import CheckpointPart
from kit.run.folder import Checkpoint, RunFolder
from kit.run.hdf5 import write_errors_are_os_errors
from kit.run.held_out import HeldOutScores
from kit.run.metrics import METRICS_FILE, NO_PROGRESS, Progress, StepRecord
from kit.run.multi_process import gathered_values
from kit.run.training_evidence import TwinLosses
from kit.runtime.interrupts import RunStopped
from kit.runtime.processes import SINGLE_PROCESS, LastStep, Processes


class LossIsNotFiniteError(UserError):
    """Training has diverged."""


class LossOfStep(keras.metrics.Mean):
    """Keras' running mean of the loss, and the loss of the last step.

    Computed from differences of running means, the loss of a step has an error that grows with the
    number of steps: 1e-5 after a hundred.
    """

    def __init__(self) -> None:
        super().__init__(name="loss")
        self.last = self.add_variable((), initializer="zeros", name="last")

    def update_state(self, values: Any, sample_weight: Any = None) -> None:
        """Add the loss of a step."""
        self.last.assign(keras.ops.cast(values, self.last.dtype))
        super().update_state(values, sample_weight=sample_weight)

    def result(self) -> dict[str, Any]:
        """Both losses, by their names in the logs."""
        return {"loss": super().result(), "step_loss": self.last.value}


class LateLogs:
    """The logs of the steps of ``fit``, which callbacks receive with the step after.

    Keras reads the logs of a step for its callbacks before it starts the next step. So a device
    waits while Python prepares a step, and Python waits for the device. With the logs of the step
    before, the next step is already queued while they are read.
    """

    def __init__(self, model: keras_hub.models.CausalLM) -> None:
        """Replace ``fit`` and ``make_train_function`` of a model."""
        #: Whether ``fit`` runs; a loop over ``train_on_batch`` gets each step's own logs.
        self.in_fit = False
        #: Whether a step has been started whose logs no callback has received.
        self.has_pending = False
        #: Whether what a callback receives has not been received before.
        self.are_new = True
        self._newest: dict[str, Any] | None = None
        self._model, self._fit, self._make = model, model.fit, model.make_train_function
        model.fit, model.make_train_function = self._fit_late, self._make_late

    def take(self) -> dict[str, float]:
        """Wait for the newest step, and return its logs, which no callback then receives."""
        self.has_pending = False
        return pythonify_logs(self._newest)

    def _fit_late(self, *args: Any, **kwargs: Any) -> Any:
        self.in_fit, self.has_pending, self._newest = True, False, None
        try:
            return self._fit(*args, **kwargs)
        finally:
            self.in_fit = False

    def _make_late(self, force: bool = False) -> None:
        before = self._model.train_function
        self._make(force)
        step = self._model.train_function
        if step is before:
            return

        def late_step(state: Any, iterator: Any) -> tuple[dict[str, Any], Any]:
            logs, state = step(state, iterator)
            if not self.in_fit:
                return logs, state
            shown, self._newest = self._newest, logs
            # The first step has none before it.
            self.are_new, self.has_pending = self.has_pending or shown is None, shown is not None
            return (logs if shown is None else shown), state

        self._model.train_function = late_step


def prepare_for_recording(model: keras_hub.models.CausalLM, late: bool = False) -> None:
    """Make a compiled model report the loss of each step, and not track the state of ``fit``.

    With ``late``, callbacks receive the logs of a step after the next step has been started.

    ``fit`` assigns all arrays of the state to ``model._jax_state`` after each step. Keras searches
    what is assigned to a layer for variables and layers, and wraps each list: 10 to 15 ms per step
    for 28 decoder blocks, for arrays that are neither.
    """
    model._loss_tracker = LossOfStep()
    model._setattr_hook = _untracked_state
    model.late_logs = LateLogs(model) if late else None


def _untracked_state(name: str, value: Any) -> tuple[str, Any]:
    # Keras does not track a view of a dictionary.
    return name, types.MappingProxyType(value) if name == "_jax_state" and isinstance(value, dict) else value


@dataclass(frozen=True)
class Schedule:
    """How many steps a run takes, and how often it writes a checkpoint."""

    steps_per_epoch: int
    epochs: int
    #: Steps between checkpoints. The last step also has one.
    save_every: int

    @property
    def steps(self) -> int:
        """Steps in all epochs."""
        return self.steps_per_epoch * self.epochs


class StepRecorder(keras.callbacks.Callback):
    """Records the metrics of each step, and writes the checkpoints that a run resumes from."""

    def __init__(
        self,
        folder: RunFolder | None,
        part: CheckpointPart,
        schedule: Schedule,
        narrator: Narrator,
        run_started: float,
        checkpoint: Checkpoint | None = None,
        processes: Processes = SINGLE_PROCESS,
        held_out: HeldOutScores | None = None,
        twin: TwinLosses | None = None,
    ) -> None:
        """Continue after ``checkpoint``, if there is one.

        ``folder`` is None in a process that writes nothing; ``run_started`` is when this process
        started the run, by ``time.perf_counter``. ``held_out`` scores reviews along the training,
        and checkpoints keep its scores and the losses of ``twin``.
        """
        super().__init__()
        self._folder = folder
        self._part = part
        self._schedule = schedule
        self._processes = processes
        self._last_step = LastStep(processes)
        self._narrator = narrator
        self._held_out = held_out
        self._twin = twin
        #: Seconds in which held-out reviews were scored, which do not count as training.
        self.scoring_seconds = 0.0
        self._warned: set[str] = set()
        #: A line could not be written, or only a part of it.
        self._metrics_are_cut_off = False
        progress = checkpoint.read_progress() if checkpoint else NO_PROGRESS
        self.records = list(progress.records)
        self._saved_metrics = progress.metrics
        #: Steps that were done when the run was resumed.
        self.resumed = progress.resumed + ((checkpoint.step,) if checkpoint else ())
        #: Seconds of earlier sessions of the run, until its newest checkpoint.
        self.seconds_before = progress.seconds
        self._run_started = run_started
        self._training_seconds_before = self.records[-1].seconds if self.records else 0.0
        self._started = time.perf_counter()
        self.write_metrics()

    @property
    def done(self) -> int:
        """Steps that are done, or have been started last."""
        late = self._late_logs
        return len(self.records) + bool(late and late.has_pending)

    @property
    def _late_logs(self) -> LateLogs | None:
        """The model's, while its ``fit`` runs."""
        late = getattr(self.model, "late_logs", None)
        return late if late and late.in_fit else None

    def write_metrics(self) -> None:
        """Write ``metrics.jsonl`` as a whole."""
        if self._folder:
            write_text(self._folder.path / METRICS_FILE, "".join(record.line for record in self.records))

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Restore the running means, which Keras resets, if the run resumes within an epoch."""
        variables = self.model.metrics_variables
        if self.done % self._schedule.steps_per_epoch and len(variables) == len(self._saved_metrics):
            for variable, value in zip(variables, self._saved_metrics, strict=True):
                variable.assign(value)
        self._saved_metrics = ()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Record the steps whose logs are there, and write a checkpoint if one is due.

        Raises LossIsNotFiniteError, or RunStopped after Ctrl-C.
        """
        late = self._late_logs
        if late is None or late.are_new:
            self._finish_step(logs)
        step = self.done
        is_last = self._last_step.is_now(step)
        if self._held_out and self._held_out.is_due(step):
            self._finish_pending_step()
            self._score_held_out(self._held_out, step)
        if is_last or step % self._schedule.save_every == 0 or step == self._schedule.steps:
            self._finish_pending_step()
            self._write_checkpoint(step)
        if is_last:
            raise RunStopped

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Record the last step of the epoch."""
        self._finish_pending_step()

    def _finish_pending_step(self) -> None:
        late = self._late_logs
        if late and late.has_pending:
            self._finish_step(late.take())

    def _finish_step(self, logs: dict[str, Any] | None) -> None:
        """Record a step, and stop if its loss is not finite."""
        record = self._record({name: float(value) for name, value in (logs or {}).items()})
        self.records.append(record)
        self._narrator.progress(record.step, self._schedule.steps, record.mean_loss)
        if self._folder:
            self._try_to_write(METRICS_FILE, lambda: self._append(record))
        if not math.isfinite(record.loss):
            raise LossIsNotFiniteError(
                f"The loss of step {record.step} is {record.loss}: the learning rate is too high for this model, or "
                "the range of the dtype is too small; lower --learning-rate."
            )

    def _record(self, logs: dict[str, float]) -> StepRecord:
        in_epoch = len(self.records) % self._schedule.steps_per_epoch
        mean = logs["loss"]
        previous = self.records[-1].mean_loss if in_epoch else 0.0
        return StepRecord(
            step=len(self.records) + 1,
            # A user's training loop may report only the running mean.
            loss=logs.get("step_loss", mean * (in_epoch + 1) - previous * in_epoch),
            mean_loss=mean,
            mean_accuracy=next((value for name, value in logs.items() if "accuracy" in name), None),
            seconds=round(
                self._training_seconds_before + time.perf_counter() - self._started - self.scoring_seconds, 3
            ),
        )

    def _append(self, record: StepRecord) -> None:
        assert self._folder
        if self._metrics_are_cut_off:
            self.write_metrics()
        else:
            self._metrics_are_cut_off = True
            with (self._folder.path / METRICS_FILE).open("a", encoding="utf-8") as lines:
                lines.write(record.line)
        self._metrics_are_cut_off = False

    def _score_held_out(self, held_out: HeldOutScores, step: int) -> None:
        started = time.perf_counter()
        if self._iterations_of_model() == step:
            held_out.score(step)
        self.scoring_seconds += time.perf_counter() - started

    def _iterations_of_model(self) -> int:
        """The steps that the model's variables have, which are those of the run as a rule."""
        # `fit` has the values; on request it copies them to the model's variables.
        self.model.jax_state_sync()
        return int(self.model.optimizer.iterations)

    def _write_checkpoint(self, step: int) -> None:
        iterations = self._iterations_of_model()
        if iterations != step:
            self._warn(
                "state",
                f"warning: no checkpoint: `finetune` updates the model only at its end ({iterations} steps in the "
                f"model, {step} done)",
            )
            return
        progress = Progress(
            records=tuple(self.records),
            resumed=self.resumed,
            seconds=self.seconds_before + time.perf_counter() - self._run_started,
            metrics=_values(self.model.metrics_variables),
            seed_states=_values(seed_variables(self.model)),
            held_out=tuple(self._held_out.scores) if self._held_out else (),
            twin=self._twin,
        )
        trained = [*self.model.trainable_variables, *self.model.optimizer.variables]
        with gathered_values(trained, self._processes):
            if folder := self._folder:
                save = functools.partial(save_state, self._part, self.model)
                write = functools.partial(folder.write_checkpoint, step, save, progress)
                self._try_to_write(f"the checkpoint after step {step}", write)

    def _try_to_write(self, what: str, write: Callable[[], None]) -> None:
        """Write something that training can continue without."""
        try:
            write()
        except OSError as error:
            self._warn(what, f"warning: cannot write {what} ({error.strerror or error}); training continues")

    def _warn(self, what: str, sentence: str) -> None:
        if what not in self._warned:
            self._warned.add(what)
            self._narrator.say(sentence)


def save_state(part: CheckpointPart, model: keras_hub.models.CausalLM, path: Path) -> None:
    """Save the training state by the part ``checkpoint``; raises OSError if the disk is full."""
    with write_errors_are_os_errors():
        part.save_training(model, path)


def seed_variables(model: keras_hub.models.CausalLM) -> list[keras.Variable]:
    """The states of a model's random generators, which dropout advances, in their order.

    Their paths contain numbers that Keras counts up within a process.
    """
    return [variable for variable in model.non_trainable_variables if variable.path.endswith("seed_generator_state")]


def _values(variables: list[keras.Variable]) -> tuple[Any, ...]:
    return tuple(keras.ops.convert_to_numpy(variable.value).tolist() for variable in variables)
