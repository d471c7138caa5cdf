"""The optimizer, loss and accuracy that a function of a solution compiles a model with."""

from dataclasses import dataclass
from typing import Any, get_args

import keras
import keras_hub
import numpy as np

from kit.checks.diagnosis import Failed
from kit.course.shared import small_models
from kit.course.shared import unsharded_twin as twin
from kit.course.shared.meshes import mesh_shapes
from kit.judge.observation import Outcome, returned
from kit.judge.submission import Submission

COMPILE = "compile_for_finetuning"
#: What the function is asked for: learning rate and weight decay.
RATE, DECAY = 0.01, 0.25
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
    learning_rate: float
    moments: tuple[Moment, ...]
    #: Path -> value, before and after one update with gradients of zero: what moves is what decays.
    #: ``after`` is None if a moment is out of place, because the update may not run then.
    before: dict[str, np.ndarray]
    after: dict[str, np.ndarray] | None


@dataclass(frozen=True)
class LossSeen:
    """Loss and metrics of a compiled model for the logits and targets of :func:`_example`."""

    loss: float
    metrics: dict[str, float]


def observe_optimizer(submission: Submission, function: str = COMPILE) -> Outcome[OptimizerSeen]:
    """The optimizer that ``function(model, rate, decay)`` compiles a small model with."""
    small_models.set_distribution(*mesh_shapes()[0])
    model = small_models.small_model(rank=0, num_layers=1)
    given = model.optimizer

    def read(_: Any) -> OptimizerSeen:
        expect_compiled(model, given, function)
        return _optimizer_of(model)

    return submission.observe(function, model, RATE, DECAY, reads=read)


def judge_optimizer(outcome: Outcome[OptimizerSeen]) -> None:
    """AdamW with this rate, decay and exclusions; moments are sharded like their variable."""
    seen = returned(outcome)
    if not np.isclose(seen.learning_rate, RATE, rtol=1e-6):
        cause = "The optimizer has a different learning rate from the one that was given."
        raise Failed("TRAINING_RATE_IGNORED", cause, ("expected", "yours"), [(RATE, f"{seen.learning_rate:g}")])
    _judge_moments(seen)
    assert seen.after is not None, "no update was tried"
    _judge_decay(seen.before, seen.after)
    if not seen.is_adamw:
        cause = "The optimizer is not AdamW."
        rows = [("AdamW", seen.name)]
        raise Failed("NOT_AS_EXPECTED", cause, ("expected", "yours"), rows, remedy="Use keras.optimizers.AdamW.")


def observe_loss(submission: Submission, function: str = COMPILE) -> Outcome[LossSeen]:
    """The loss and metrics that ``function(model, rate, decay)`` compiles a small model with."""
    small_models.set_distribution(*mesh_shapes()[0])
    model = small_models.small_model(rank=RANK, num_layers=1)
    given = model.optimizer

    def read(_: Any) -> LossSeen:
        expect_compiled(model, given, function)
        logits, x, y, weight = _example()
        predicted = keras.ops.convert_to_tensor(logits)
        loss = model.compute_loss(x=x, y=y, y_pred=predicted, sample_weight=weight)
        metrics = model.compute_metrics(x, y, predicted, weight)
        return LossSeen(float(loss), {str(name): float(value) for name, value in metrics.items()})

    return submission.observe(function, model, RATE, DECAY, reads=read)


def judge_loss(outcome: Outcome[LossSeen]) -> None:
    """Cross-entropy of the next token over logits; loss and accuracy do not count padding."""
    seen = returned(outcome)
    logits, x, y, weight = _example()
    compare_loss(
        seen.loss,
        {variant: float(twin.cross_entropy(logits, x, y, weight, variant)) for variant in get_args(twin.Variant)},
    )
    right = (logits.argmax(-1) == y).astype("float64")
    expected, with_padding = float((right * weight).sum() / weight.sum()), float(right.mean())
    accuracies = {name: value for name, value in seen.metrics.items() if "accuracy" in name}
    if not accuracies:
        raise Failed(
            "NOT_AS_EXPECTED",
            "The model was compiled without an accuracy.",
            ("expected", "yours"),
            [("sparse_categorical_accuracy", ", ".join(seen.metrics) or "no metric")],
            remedy="Pass a SparseCategoricalAccuracy to `compile`, in `weighted_metrics`.",
        )
    for name, value in accuracies.items():
        if np.isclose(value, expected, rtol=1e-5):
            continue
        counts_padding = np.isclose(value, with_padding, rtol=1e-5)
        raise Failed(
            "TRAINING_COUNTS_PADDING" if counts_padding else "NOT_AS_EXPECTED",
            "The accuracy counts padding." if counts_padding else "The accuracy over the tokens is wrong.",
            ("metric", "expected", "yours", "with padding"),
            [(name, f"{expected:.4f}", f"{value:.4f}", f"{with_padding:.4f}")],
            remedy="Pass the accuracy to `compile` in `weighted_metrics`: only these get `sample_weight`, which is 0 "
            "at padding.",
        )


def expect_compiled(model: keras_hub.models.CausalLM, given: keras.optimizers.Optimizer | None, function: str) -> None:
    """Make sure that a function compiled the model, which had the optimizer ``given`` before."""
    if model.optimizer is None or model.optimizer is given:
        cause = f"{function} did not compile the model."
        rows = [("a new optimizer", f"the {type(given).__name__} that KerasHub gave it")]
        raise Failed("NOT_AS_EXPECTED", cause, ("expected", "yours"), rows, remedy="Call model.compile.")


_MISTAKES = {
    "counts padding": ("TRAINING_COUNTS_PADDING", "The loss counts padding."),
    "targets not shifted": (
        "TRAINING_TARGETS_NOT_SHIFTED",
        "The targets of the loss are the input tokens, not the next tokens.",
    ),
    "on probabilities": ("TRAINING_LOSS_ON_PROBABILITIES", "The loss treats logits as probabilities."),
}


def compare_loss(found: float, variants: dict[str, float]) -> None:
    """Compare a loss with the right variant, and with those of common mistakes."""
    if np.isclose(found, variants["right"], rtol=LOSS_TOLERANCE):
        return
    rows = [("yours", f"{found:.6f}"), *((name, f"{value:.6f}") for name, value in variants.items())]
    for variant, (code, cause) in _MISTAKES.items():
        if np.isclose(found, variants[variant], rtol=1e-4):
            raise Failed(code, cause, ("loss", "value"), rows)
    raise Failed(
        "TRAINING_OFF_THE_TWIN", "The loss differs from the loss of the unsharded twin.", ("loss", "value"), rows
    )


def _optimizer_of(model: keras_hub.models.CausalLM) -> OptimizerSeen:
    optimizer, variables = model.optimizer, model.trainable_variables
    learning_rate = float(np.asarray(optimizer.learning_rate))
    optimizer.build(variables)
    moments = _moments_of(model)
    before, after = small_models.values(variables), None
    if all(moment.in_place for moment in moments):
        optimizer.apply([keras.ops.zeros_like(variable.value) for variable in variables], variables)
        after = small_models.values(variables)
    is_adamw = isinstance(optimizer, keras.optimizers.AdamW)
    return OptimizerSeen(type(optimizer).__name__, is_adamw, learning_rate, moments, before, after)


def _moments_of(model: keras_hub.models.CausalLM) -> tuple[Moment, ...]:
    shardings = {
        tuple(variable.shape): variable.value.sharding
        for variable in model.trainable_variables
        if len(variable.shape) > 1
    }
    moments = []
    for variable in model.optimizer.variables:
        shape, sharding = tuple(variable.shape), variable.value.sharding
        if (expected := shardings.get(shape)) is not None:
            moments.append(
                Moment(
                    str(variable.path),
                    shape,
                    str(getattr(expected, "spec", "")),
                    str(getattr(sharding, "spec", "one device")),
                    bool(sharding.is_equivalent_to(expected, len(shape))),
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


def _judge_decay(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> None:
    decays = {path: _decay(before[path], after[path]) for path in before}
    scales = [path for path in decays if path.endswith(("/scale", "/bias"))]
    matrices = [path for path in decays if path not in scales]
    assert scales, "the small model has no scale"
    assert matrices, "the small model has no matrix"
    columns = ("variable", "expected decay", "yours")
    rows = [(matrices[0], DECAY, f"{decays[matrices[0]]:.4g}"), (scales[0], 0, f"{decays[scales[0]]:.4g}")]
    if any(abs(decays[path] - DECAY) > 1e-3 for path in matrices):
        cause = f"The weight decay of the matrices is not the one that was given, {DECAY}."
        raise Failed("TRAINING_DECAY_IGNORED", cause, columns, rows)
    if any(abs(decays[path]) > 1e-3 for path in scales):
        raise Failed("TRAINING_DECAYS_NORMS", "The normalization scales decay too.", columns, rows)


def _decay(before: np.ndarray, after: np.ndarray) -> float:
    """The weight decay that explains the change of a variable under gradients of zero."""
    place = np.unravel_index(np.abs(before).argmax(), before.shape)
    return float((1 - after[place] / before[place]) / RATE)


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
