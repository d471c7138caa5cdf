"""The checks of the exercise ``training``: what compile, fit and step do, and how it is judged."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
import keras_hub
import numpy as np

from kit.checks.diagnosis import Failed
from kit.course.shared import compiled_model, small_models
from kit.course.shared.compiled_model import COMPILE
from kit.course.shared.meshes import mesh_shapes, mesh_with_batch_axis
from kit.course.shared.optimizer_mistakes import DECAY, RATE
from kit.course.training import hand_written_step
from kit.course.training.mistakes import EPOCHS, as_values, batches_of_fit, fit_table, losses_of_steps, model_of_fit
from kit.course.training.twin_comparison import Values, expect_trained, expect_twin, is_like_twin, loss_of
from kit.evidence import unsharded_twin as twin
from kit.formatting import format_bytes
from kit.judge.observation import Outcome, Returned, Stopped, returned
from kit.judge.submission import Submission

if TYPE_CHECKING:
    from kit.tpu.plan import Plan

observe_optimizer, judge_optimizer = compiled_model.observe_optimizer, compiled_model.judge_optimizer
observe_loss, judge_loss = compiled_model.observe_loss, compiled_model.judge_loss
observe_step, judge_step = hand_written_step.observe_step, hand_written_step.judge_step

#: Steps of the check ``learns``, all on the same batch.
LEARNING_STEPS = 12


@dataclass(frozen=True)
class Fitted:
    """A model after ``finetune``, and what its callback received."""

    #: Calls of ``on_epoch_begin``.
    epochs: int
    #: The loss in the logs of each ``on_train_batch_end``; None if they have none.
    logged: list[float | None]
    #: Step count of the optimizer.
    steps: int
    #: Whether the model still has the optimizer that it was compiled with.
    same_optimizer: bool
    #: Whether the model still has its preprocessor, and the sequence length of it.
    same_preprocessor: bool
    sequence_length: int
    #: Whether the list of batches is the one that was passed.
    same_batches: bool
    values: dict[str, np.ndarray]


class _Recorder(keras.callbacks.Callback):
    """Counts epochs and batches, and keeps the logged losses."""

    def __init__(self) -> None:
        super().__init__()
        self.epochs = 0
        self.logged: list[float | None] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epochs += 1

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        loss = (logs or {}).get("loss")
        self.logged.append(None if loss is None else float(loss))


def observe_fit(submission: Submission) -> Outcome[Fitted]:
    """``finetune`` with three batches of different lengths, two epochs and a callback."""
    small_models.set_distribution(*mesh_with_batch_axis())
    model = model_of_fit()
    small_models.compile_model(model, RATE, DECAY)
    optimizer, preprocessor, batches, recorder = model.optimizer, model.preprocessor, batches_of_fit(), _Recorder()

    def read(_: Any) -> Fitted:
        return Fitted(
            recorder.epochs,
            recorder.logged,
            int(np.asarray(model.optimizer.iterations.value)),
            model.optimizer is optimizer,
            model.preprocessor is preprocessor,
            preprocessor.sequence_length,
            batches == batches_of_fit(),
            small_models.values(model.variables),
        )

    return submission.observe(
        "finetune",
        model,
        batches,
        epochs=EPOCHS,
        callbacks=[recorder],
        reads=read,
        returns=keras.callbacks.History,
    )


def judge_fit(outcome: Outcome[Fitted]) -> dict[str, float]:
    """Batches are trained in order; losses and adapters are those of the unsharded twin."""
    fitted = returned(outcome)
    model, batches = model_of_fit(), batches_of_fit()
    before = small_models.values(model.variables)
    expect_trained(before, fitted.values, fitted.steps)
    logged = _judge_calls(fitted, EPOCHS * len(batches))
    _judge_what_is_left(fitted)
    right = twin.train(model, batches * EPOCHS, RATE, DECAY)
    trainable = {path: fitted.values[path] for path in right.trainable}
    # `train_on_batch` logs the loss of the batch, and `fit` logs the mean of the epoch so far.
    by_epoch = losses_of_steps(logged, [len(batch) for batch in batches])
    for losses in (logged, by_epoch):
        if is_like_twin(losses, trainable, right):
            return expect_twin(losses, trainable, right, "fit")
    table = fit_table()
    for losses in (by_epoch, logged):
        if recognised := table.recognised_failure(as_values(losses, before, trainable)):
            raise recognised
    _judge_order(model, before, by_epoch, right)
    return expect_twin(by_epoch, trainable, right, "fit")


@dataclass(frozen=True)
class Learned:
    """The bundled model after ``finetune`` with batches and callbacks that can be read once."""

    values: Outcome[dict[str, np.ndarray]]
    #: Where nothing was trained: the same with lists.
    with_lists: Outcome[dict[str, np.ndarray]] | None


def observe_learns(submission: Submission) -> Learned:
    """The values of the bundled model after twelve steps on one batch."""
    small_models.set_distribution(*mesh_shapes()[0])
    values = _learn(submission, iter)
    if isinstance(values, Returned) and values.data.pop(_STEPS) == LEARNING_STEPS:
        return Learned(values, None)
    return Learned(values, _learn(submission, list))


#: The name of the optimizer's step count among the values.
_STEPS = "steps"


def _learn(submission: Submission, given: Callable[[Sequence[Any]], Iterable[Any]]) -> Outcome[dict[str, np.ndarray]]:
    """The values after ``finetune``, and the number of steps; ``given`` makes its arguments."""
    model = _bundled_model_with_lora()
    before = model.optimizer

    def finetune(_: Any) -> dict[str, np.ndarray]:
        compiled_model.expect_compiled(model, before, COMPILE)
        batches = given(small_models.batches(1) * LEARNING_STEPS)
        submission.call("finetune", model, batches, callbacks=given([_Recorder()]))
        return small_models.values(model.variables) | {_STEPS: np.asarray(model.optimizer.iterations.value)}

    return submission.observe(COMPILE, model, 5e-3, 0.01, reads=finetune)


def judge_learns(seen: Learned) -> dict[str, float]:
    """The adapters have changed, and the loss of the batch has gone down."""
    if seen.with_lists is not None and isinstance(seen.with_lists, Returned):
        _judge_read_once(seen.values, int(seen.with_lists.data[_STEPS]))
    after = returned(seen.values)
    model = _bundled_model_with_lora()
    before, (batch,) = small_models.values(model.variables), small_models.batches(1)
    expect_trained(before, after, LEARNING_STEPS)
    first, last = (loss_of(model, batch, values) for values in (before, after))
    # Over five seeds the loss falls to 0.79 to 0.81 of its value; where nothing is learned it
    # stays.
    if not last < 0.9 * first:
        cause = "Twelve steps on the same eight sentences hardly change the loss."
        rows = [(f"{first:.4f}", f"below {0.9 * first:.4f}", f"{last:.4f}")]
        raise Failed("TRAINING_LOSS_FLAT", cause, ("loss before", "expected after", "yours"), rows)
    return {"loss after / before": last / first}


def _judge_read_once(outcome: Outcome[dict[str, np.ndarray]], steps_with_lists: int) -> None:
    """Batches and callbacks that can be read only once are trained like lists of them."""
    error = outcome.diagnosis.cause if isinstance(outcome, Stopped) else ""
    steps = 0 if isinstance(outcome, Stopped) else int(returned(outcome)[_STEPS])
    if steps == steps_with_lists:
        return
    raise Failed(
        "NOT_AS_EXPECTED",
        f"`finetune` trains lists of batches and callbacks, and fails if they are iterators, which can be read once: "
        f"{error or f'it trains {steps} of {steps_with_lists} batches.'}",
        ("batches and callbacks are", "steps expected", "yours"),
        [("lists", LEARNING_STEPS, steps_with_lists), ("iterators", LEARNING_STEPS, steps)],
        "Make a list of the batches first, and one of the callbacks: the stub promises any Iterable.",
        "training#fit",
    )


def observe_v3_8(submission: Submission) -> "Plan":
    """Memory and collectives of the compiled step of Gemma 7B, by the TPU compiler."""
    from kit.course.shared import tpu_step

    return tpu_step.plan(tpu_step.with_step(lambda model: submission.call(hand_written_step.FUNCTION, model)), rank=0)


def judge_v3_8(plan: "Plan") -> None:
    """The state is donated; temporaries and collectives are those of the right step."""
    from kit.course.shared import tpu_step

    right = tpu_step.golden(0)
    sent, least = sum(tpu_step.sent_by_layer(plan).values()), sum(right.sent.values())
    rows = [
        ("weights and moments", format_bytes(right.arguments), format_bytes(plan.arguments)),
        ("temporaries", format_bytes(right.temporaries), format_bytes(plan.temporaries)),
        ("new state besides the old one", format_bytes(0), format_bytes(plan.kept)),
        ("results of collectives", format_bytes(least), format_bytes(sent)),
    ]
    columns = (f"on one core, {plan.layers} blocks, all parameters", "needed", "yours")
    if plan.kept > 0.05 * plan.arguments:
        cause = "Compiled for a v3-8, the step needs memory for the new state besides the old one."
        raise Failed("TRAINING_STATE_NOT_DONATED", cause, columns, rows)
    # AdamW written out in the step takes a tenth more than Keras' own. Replicated gradients take
    # seven times as much.
    if plan.temporaries > 1.5 * right.temporaries:
        times = plan.temporaries / right.temporaries
        cause = f"Compiled for a v3-8, the step needs {times:.1f} times the temporaries of the right step."
        raise Failed("TRAINING_EXTRA_MEMORY", cause, columns, rows)
    if sent > 1.02 * least:
        raise Failed(
            "TRAINING_EXTRA_COLLECTIVES",
            f"Compiled for a v3-8, the step sends {sent / least:.2f} times the bytes of the right step.",
            ("layer", "because of", "yours", "needed"),
            tpu_step.sent_rows(plan, right),
        )


def _judge_calls(fitted: Fitted, steps: int) -> list[float]:
    """The callback saw each epoch and each batch, and the optimizer counts each step."""
    seen = len(fitted.logged)
    evidence = (
        ("", "expected", "yours"),
        [
            ("epochs that the callback saw", EPOCHS, fitted.epochs),
            ("steps that the callback saw", steps, seen),
            ("steps of the optimizer", steps, fitted.steps),
        ],
    )
    if seen == 0:
        raise Failed("TRAINING_ARGUMENT_IGNORED", "`finetune` never called its callbacks.", *evidence)
    if not fitted.same_optimizer:
        cause = "`finetune` replaces the optimizer that the model was compiled with, and its state is lost."
        raise Failed("TRAINING_OPTIMIZER_STATE_LOST", cause, *evidence, "Call `fit`, and do not compile the model.")
    if fitted.epochs != EPOCHS and seen == steps:
        cause = f"`finetune` trains {steps} batches, as it should, in {fitted.epochs} epochs instead of {EPOCHS}."
        raise Failed("TRAINING_EPOCHS_CHANGED", cause, *evidence)
    if fitted.epochs != EPOCHS and seen == steps // EPOCHS * fitted.epochs:
        cause = f"`finetune` was called with epochs={EPOCHS} and trained for {fitted.epochs}."
        raise Failed("TRAINING_ARGUMENT_IGNORED", cause, *evidence)
    if seen != steps or fitted.epochs != EPOCHS:
        cause = f"`finetune` was given {steps // EPOCHS} batches for {EPOCHS} epochs and trained {seen} batches."
        raise Failed("TRAINING_BATCHES_CHANGED", cause, *evidence)
    if fitted.steps != steps:
        cause = f"After {steps} steps, the step count of the optimizer is {fitted.steps}."
        raise Failed("TRAINING_OPTIMIZER_STATE_LOST", cause, *evidence, "Do not change the optimizer's variables.")
    losses = [loss for loss in fitted.logged if loss is not None]
    if len(losses) < seen:
        cause = "The logs that the callbacks receive at the end of a batch have no loss."
        rows = [("steps with a loss", steps, len(losses))]
        raise Failed("NOT_AS_EXPECTED", cause, ("", "expected", "yours"), rows, "Pass the callbacks to `fit`.")
    return losses


def _judge_what_is_left(fitted: Fitted) -> None:
    """The model generates later with the same preprocessor, and the caller uses the batches."""
    length = small_models.SEQUENCE_LENGTH
    rows = [
        ("the model's preprocessor", "unchanged", "unchanged" if fitted.same_preprocessor else "another"),
        ("its sequence length", length, fitted.sequence_length),
        ("the list of batches", "unchanged", "unchanged" if fitted.same_batches else "changed"),
    ]
    if not fitted.same_preprocessor or fitted.sequence_length != length or not fitted.same_batches:
        cause = "`finetune` leaves its arguments changed."
        remedy = "Restore what you change, or work on a copy."
        raise Failed("NOT_AS_EXPECTED", cause, ("after finetune", "expected", "yours"), rows, remedy, "training#fit")


def _judge_order(model: keras_hub.models.CausalLM, before: Values, losses: list[float], right: twin.Trajectory) -> None:
    """If the first loss is the loss of a later batch, say so."""
    if np.isclose(losses[0], right.losses[0], rtol=1e-4):
        return
    for position, batch in enumerate(batches_of_fit()[1:], 2):
        if np.isclose(losses[0], loss_of(model, batch, before), rtol=1e-4):
            cause = f"The first step was trained on batch {position} of the batches that were given."
            rows = [
                (number, f"{found:.6f}", f"{expected:.6f}")
                for number, (found, expected) in enumerate(zip(losses, right.losses, strict=True), 1)
            ]
            raise Failed("TRAINING_BATCHES_CHANGED", cause, ("step", "your loss", "loss of the twin"), rows)


def _bundled_model_with_lora() -> keras_hub.models.CausalLM:
    """The bundled model with LoRA of rank 4, whose initial values depend on the seed alone."""
    keras.utils.set_random_seed(small_models.seed())
    model = small_models.bundled_model()
    model.preprocessor.sequence_length = small_models.SEQUENCE_LENGTH
    model.backbone.enable_lora(4, target_layer_names=["query", "value"])
    return model
