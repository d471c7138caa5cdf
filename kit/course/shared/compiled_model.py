"""The optimizer, loss and accuracy that a function of a solution compiles a model with."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import keras_hub
import numpy as np

from kit.checks.diagnosis import Failed
from kit.course.shared import small_models
from kit.course.shared.loss_mistakes import compile_table
from kit.course.shared.meshes import mesh_shapes
from kit.course.shared.optimizer_mistakes import DECAY, RATE, UPDATES, gradients, optimizer_table, updated
from kit.judge.mistakes import MistakeTable
from kit.judge.observation import Outcome, returned
from kit.judge.submission import Submission

COMPILE = "compile_for_finetuning"
#: Of LoRA, where a model has it.
RANK = 3
#: Sums over shards have another order than sums on one device, and Adam magnifies the rounding.
#: The largest relative difference of a loss that was measured on right solutions is 6.1e-7
#: (benchmarks/training_seeds.py).
LOSS_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Moment:
    """A variable of the optimizer with the shape of a matrix of the model."""

    path: str
    shape: tuple[int, ...]
    #: Sharding spec of the matrix, and of the moment itself, as text.
    expected_spec: str
    spec: str
    #: Whether the two shardings place the same shards on the same devices.
    in_place: bool


@dataclass(frozen=True)
class OptimizerSeen:
    """The optimizer that a model was compiled with, built on the model's trainable variables."""

    #: Name of the class, and whether it is Keras' AdamW.
    name: str
    is_adamw: bool
    #: At steps 0, 100 and 10,000.
    learning_rates: tuple[float, ...]
    #: Options of AdamW that are not Keras' defaults, as text: "beta_1=0.5".
    options: tuple[str, ...]
    moments: tuple[Moment, ...]
    #: Path -> value, before and after one update with gradients of zero: what moves is what decays.
    #: Then after :data:`UPDATES` with the gradients of the oracle. Both are None if a moment is out
    #: of place, because the update may not run then.
    before: dict[str, np.ndarray]
    decayed: dict[str, np.ndarray] | None
    after: dict[str, np.ndarray] | None


@dataclass(frozen=True)
class LossSeen:
    """Loss and metrics of a compiled model for the logits and targets of :func:`_example`."""

    loss: float
    metrics: dict[str, float]
    #: Whether ``compile`` was called without metrics, so that KerasHub added its own.
    metrics_left_out: bool


def observe_optimizer(submission: Submission, function: str = COMPILE) -> Outcome[OptimizerSeen]:
    """The optimizer that ``function(model, rate, decay)`` compiles a small model with."""
    small_models.set_distribution(*mesh_shapes()[0])
    model = _model_with_bias()
    given = model.optimizer

    def read(_: Any) -> OptimizerSeen:
        expect_compiled(model, given, function)
        return _optimizer_of(model)

    return submission.observe(function, model, RATE, DECAY, reads=read)


def _model_with_bias() -> keras_hub.models.CausalLM:
    """A model with a variable named "bias", which a Gemma has not. It does not use it."""
    model = small_models.small_model(rank=0, num_layers=1)
    layer = model.backbone.get_layer("final_normalization")
    layer._tracker.unlock()  # as KerasHub's enable_lora does
    layer.bias = layer.add_weight(name="bias", shape=layer.scale.shape, initializer="ones")
    layer._tracker.lock()
    return model


def judge_optimizer(outcome: Outcome[OptimizerSeen]) -> None:
    """AdamW with this rate, decay and exclusions; moments are sharded like their variable."""
    seen = returned(outcome)
    _judge_moments(seen)
    assert seen.decayed is not None, "no update was tried"
    _judge_rate_and_decay(seen)
    if not seen.is_adamw:
        cause = "The optimizer is not AdamW."
        rows = [("AdamW", seen.name)]
        raise Failed("NOT_AS_EXPECTED", cause, ("expected", "yours"), rows, remedy="Use keras.optimizers.AdamW.")
    _judge_updates(seen)


def observe_loss(submission: Submission, function: str = COMPILE) -> Outcome[LossSeen]:
    """The loss and metrics that ``function(model, rate, decay)`` compiles a small model with."""
    small_models.set_distribution(*mesh_shapes()[0])
    model = small_models.small_model(rank=RANK, num_layers=1)
    given = model.optimizer

    calls = _watch_compile(model)

    def read(_: Any) -> LossSeen:
        expect_compiled(model, given, function)
        logits, x, y, weight = _example()
        predicted = keras.ops.convert_to_tensor(logits)
        loss = model.compute_loss(x=x, y=y, y_pred=predicted, sample_weight=weight)
        metrics = model.compute_metrics(x, y, predicted, weight)
        left_out = any(not {"metrics", "weighted_metrics"} & call.keys() for call in calls[-1:])
        return LossSeen(float(loss), {str(name): float(value) for name, value in metrics.items()}, left_out)

    return submission.observe(function, model, RATE, DECAY, reads=read)


def judge_loss(outcome: Outcome[LossSeen]) -> None:
    """Cross-entropy of the next token over logits; loss and accuracy do not count padding."""
    seen = returned(outcome)
    table = table_of_loss()
    accuracies = {name: value for name, value in seen.metrics.items() if "accuracy" in name}
    for value in accuracies.values() or [table.right["accuracy"]]:
        _compare_loss(table, seen.loss, value)
    if seen.metrics_left_out or not accuracies:
        cause = "The model was compiled without an accuracy."
        if accuracies:
            cause = "compile was called without an accuracy, and KerasHub's default took its place."
        raise Failed(
            "NOT_AS_EXPECTED",
            cause,
            ("expected", "yours"),
            [("sparse_categorical_accuracy", "left out" if accuracies else ", ".join(seen.metrics) or "no metric")],
            remedy="Pass a SparseCategoricalAccuracy to `compile`, in `weighted_metrics`.",
        )


def table_of_loss() -> MistakeTable:
    """The mistakes that the check of loss and accuracy recognises."""
    return compile_table(*_example())


def table_of_optimizer() -> MistakeTable:
    """The mistakes that the check of the optimizer recognises."""
    model = _model_with_bias()
    return optimizer_table([variable.path for variable in model.trainable_variables])


def _compare_loss(table: MistakeTable, loss: float, accuracy: float) -> None:
    """Compare the values with the right ones, and with those of the usual mistakes."""
    found = {"loss": loss, "accuracy": accuracy}
    if table.is_right(found):
        return
    if table.is_right({**found, "accuracy": table.right["accuracy"]}):
        cause = "The accuracy is not the share of the tokens that are predicted right."
        remedy = "Pass a SparseCategoricalAccuracy to `compile`, in `weighted_metrics`."
        raise table.failure(found, "NOT_AS_EXPECTED", cause, remedy)
    raise table.failure(
        found,
        "TRAINING_OFF_THE_TWIN",
        "The loss is not the weighted cross-entropy of the next token.",
        "Compare the loss with the formula in the lesson.",
    )


def _watch_compile(model: keras_hub.models.CausalLM) -> list[dict[str, Any]]:
    """The keyword arguments of each call of ``model.compile`` from now on."""
    calls: list[dict[str, Any]] = []
    compile_model = model.compile

    def watched(*args: Any, **kwargs: Any) -> Any:
        calls.append(kwargs)
        return compile_model(*args, **kwargs)

    model.compile = watched
    return calls


def expect_compiled(model: keras_hub.models.CausalLM, given: keras.optimizers.Optimizer | None, function: str) -> None:
    """Make sure that a function compiled the model, which had the optimizer ``given`` before."""
    if model.optimizer is None or model.optimizer is given:
        cause = f"{function} did not compile the model."
        rows = [("a new optimizer", f"the {type(given).__name__} that KerasHub gave it")]
        raise Failed("NOT_AS_EXPECTED", cause, ("expected", "yours"), rows, remedy="Call model.compile.")


def _optimizer_of(model: keras_hub.models.CausalLM) -> OptimizerSeen:
    optimizer, variables = model.optimizer, model.trainable_variables
    optimizer.build(variables)
    moments = moments_of(model)
    before, decayed, after = small_models.values(variables), None, None
    rates, options = _rates_of(optimizer), _options_of(optimizer)
    if all(moment.in_place for moment in moments):
        optimizer.apply([keras.ops.zeros_like(variable.value) for variable in variables], variables)
        decayed = small_models.values(variables)
        for number in range(UPDATES):
            given = gradients(number, {path: value.shape for path, value in before.items()})
            optimizer.apply([keras.ops.convert_to_tensor(given[variable.path]) for variable in variables], variables)
        after = small_models.values(variables)
    is_adamw = isinstance(optimizer, keras.optimizers.AdamW)
    return OptimizerSeen(type(optimizer).__name__, is_adamw, rates, options, moments, before, decayed, after)


def _rates_of(optimizer: keras.optimizers.Optimizer) -> tuple[float, ...]:
    """The learning rates at the first, the hundredth and the ten thousandth step."""
    rate = optimizer._learning_rate
    if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        return tuple(float(np.asarray(rate(step))) for step in (0, 100, 10_000))
    return (float(np.asarray(optimizer.learning_rate)),) * 3


def _options_of(optimizer: keras.optimizers.Optimizer) -> tuple[str, ...]:
    """The options that differ from AdamW's defaults, besides rate, decay and name."""
    default = keras.optimizers.AdamW().get_config()
    return tuple(
        f"{name}={value}"
        for name, value in optimizer.get_config().items()
        if name not in ("name", "learning_rate", "weight_decay") and default.get(name) != value
    )


def moments_of(model: keras_hub.models.CausalLM) -> tuple[Moment, ...]:
    """The optimizer's variables that have the shape of a matrix of the model."""
    shardings = {
        tuple(variable.shape): variable.value.sharding
        for variable in model.trainable_variables
        if len(variable.shape) > 1
    }
    moments = []
    for variable in model.optimizer.variables:
        shape, sharding = tuple(variable.shape), getattr(variable.value, "sharding", None)
        if (expected := shardings.get(shape)) is not None:
            moments.append(
                Moment(
                    str(variable.path),
                    shape,
                    str(getattr(expected, "spec", "")),
                    str(getattr(sharding, "spec", "one device")),
                    sharding is not None and bool(sharding.is_equivalent_to(expected, len(shape))),
                )
            )
    return tuple(moments)


def _judge_moments(seen: OptimizerSeen) -> None:
    if not seen.moments:
        cause = "The optimizer keeps no moments for any matrix."
        rows = [("AdamW, with two moments for each matrix", seen.name)]
        raise Failed("NOT_AS_EXPECTED", cause, ("expected", "yours"), rows, remedy="Use keras.optimizers.AdamW.")
    wrong = [moment for moment in seen.moments if not moment.in_place]
    if wrong:
        raise Failed(
            "TRAINING_SLOTS_REPLICATED",
            f"{len(wrong)} of {len(seen.moments)} moments of the optimizer are not sharded like their variable.",
            ("moment", "shape", "its variable's spec", "its own spec"),
            [(moment.path, moment.shape, moment.expected_spec, moment.spec) for moment in wrong[:5]],
        )


def _judge_rate_and_decay(seen: OptimizerSeen) -> None:
    first, *later = seen.learning_rates
    if any(rate != first for rate in later):
        cause = "The learning rate is not constant."
        rows = [(step, RATE, f"{rate:g}") for step, rate in zip((0, 100, 10_000), seen.learning_rates, strict=True)]
        remedy = "Pass the given number itself as `learning_rate`, not a schedule."
        raise Failed("TRAINING_RATE_IGNORED", cause, ("step", "expected", "yours"), rows, remedy)
    assert seen.decayed is not None
    decays = {path: _decay(value, seen.decayed[path], first) for path, value in seen.before.items()}
    table = optimizer_table(tuple(decays))
    found = {"learning rate": first} | {f"decay of {path}": decay for path, decay in decays.items()}
    if np.isclose(first, RATE, rtol=1e-6) and table.is_right(found):
        return
    if not np.isclose(first, RATE, rtol=1e-6):
        cause = "The optimizer has a different learning rate from the one that was given."
        raise table.failure(found, "TRAINING_RATE_IGNORED", cause)
    norms = [path for path in decays if path.endswith(("/scale", "/bias"))]
    if any(abs(decays[path]) > 1e-3 for path in decays if path in norms):
        raise table.failure(found, "TRAINING_DECAYS_NORMS", "Normalization scales decay.")
    cause = f"The weight decay of the matrices is not the one that was given, {DECAY}."
    raise table.failure(found, "TRAINING_DECAY_IGNORED", cause)


#: Of the largest change. The weights are rounded to float32 after each update, which moves them by
#: a hundredth of this.
_SAME_UPDATE = 1e-3


def _judge_updates(seen: OptimizerSeen) -> None:
    """With the same gradients, the weights are those of AdamW without other options."""
    assert seen.after is not None
    expected = updated(seen.before)
    differences = _relative_changes(seen, expected)
    path = max(differences, key=lambda path: differences[path])
    if differences[path] <= _SAME_UPDATE:
        return
    place = np.unravel_index(np.abs(expected[path] - seen.before[path]).argmax(), expected[path].shape)
    raise Failed(
        "NOT_AS_EXPECTED",
        _named_option(seen)
        or "With the same gradients, the weights change in another way than with AdamW of this rate and decay.",
        (f"after {UPDATES} updates", "expected", "yours"),
        [
            (f"an entry of {path}", f"{expected[path][place]:.6f}", f"{seen.after[path][place]:.6f}"),
            ("options besides rate and decay", "Keras' defaults", ", ".join(seen.options) or "Keras' defaults"),
        ],
        remedy="Leave the other options of AdamW at their defaults.",
        anchor="training#The optimizer",
    )


def _relative_changes(seen: OptimizerSeen, expected: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The largest difference of an entry of each variable, relative to its largest change."""
    assert seen.after is not None
    return {
        path: float(np.abs(seen.after[path] - value).max() / np.abs(value - seen.before[path]).max())
        for path, value in expected.items()
    }


def _named_option(seen: OptimizerSeen) -> str:
    """The cause, if AdamW's betas and epsilon alone give these weights; else an empty text."""
    found = dict(option.split("=", 1) for option in seen.options)
    if not found or not found.keys() <= {"beta_1", "beta_2", "epsilon"}:
        return ""
    if max(_relative_changes(seen, updated(seen.before, **{name: float(found[name]) for name in found})).values()) > (
        _SAME_UPDATE
    ):
        return ""
    default = keras.optimizers.AdamW().get_config()
    shown = " and ".join(f"{name}={value} instead of Keras' default, {default[name]}" for name, value in found.items())
    return f"AdamW has {shown}: with the same gradients, the weights change in another way."


def _decay(before: np.ndarray, after: np.ndarray, rate: float) -> float:
    """The weight decay that explains the change of a variable under gradients of zero."""
    old, new = before.astype("float64"), after.astype("float64")
    return float(np.vdot(old - new, old) / np.vdot(old, old) / rate) if rate else 0.0


def _example() -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Logits, inputs, targets and weights, of which the second half of each example is padding."""
    random = np.random.default_rng(0)
    shape, vocabulary = (4, 6), 11
    logits = random.normal(0, 2, (*shape, vocabulary)).astype("float32")
    x = {"token_ids": random.integers(0, vocabulary, shape)}
    y = random.integers(0, vocabulary, shape)
    weight = np.ones(shape, "float32")
    weight[:, 3:] = 0
    # Half of the tokens and all of the padding are predicted right, so that the accuracies differ.
    y[:, :3:2] = logits.argmax(-1)[:, :3:2]
    y[:, 3:] = logits.argmax(-1)[:, 3:]
    return logits, x, y, weight
