"""A check of training: the loss falls, and what is trainable trains, and nothing else."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kit.checks.diagnosis import Failed
from kit.checks.failure import raises_check_failed
from kit.checks.placement import judge_device_counts, require_values
from kit.checks.tables import Row, limited

if TYPE_CHECKING:
    import keras

    from kit.evidence.train_step import Data
    from kit.evidence.training_probe import ProbedVariable, TrainingProbe

#: Dtypes with few digits, and the share of a value below which an update can be lost.
_COARSE = {"bfloat16": 2.0**-8, "float16": 2.0**-11}


@raises_check_failed
def check_trains(model: "keras.Model", batch: Any, steps: int = 3) -> tuple[float, ...]:
    """Check that within a few steps the loss falls, and exactly the trainable variables train.

    The check runs the model's own ``train_step`` on copies of its state, under the distribution
    that is set. The optimizer is a new one with the same settings, without weight decay: decay
    moves also what has no gradient. Regularizers are left out for the same reason. Each step draws
    the same random numbers (dropout), so that the losses can be compared. The model, its
    optimizer and its metrics are as before; a model that is not built is called on the batch.

    It costs one compilation of the step, ``steps`` + 1 steps, and memory for the state a second
    time. A failure can take two compilations more, which look for its cause.

    Args:
        model: Compiled, with or without LoRA.
        batch: What ``model.train_on_batch`` takes: a tuple (x, y) or (x, y, sample_weight), or x
            alone, such as a list of texts for a KerasHub task with its preprocessor.
        steps: The loss must fall within so few steps. LoRA needs two: its A has no gradient before
            B has changed.

    Returns:
        The loss before the first step, and after each.

    Raises:
        CheckFailed: NOTHING_TO_CHECK, LAYOUT_AXIS_DOES_NOT_DIVIDE, LOADING_NO_DISTRIBUTION,
            LOADING_DISTRIBUTION_TOO_LATE, TRAINING_NOTHING_TRAINABLE, TRAINING_OPTIMIZER_IS_STALE,
            LOSS_NOT_FINITE, TRAINING_GRADIENT_NOT_FINITE, TRAINING_FROZEN_VARIABLE_MOVES,
            TRAINING_NO_GRADIENT, TRAINING_UPDATE_IS_LOST, TRAINING_LOSS_DOES_NOT_FALL.
    """
    if steps < 2:
        raise ValueError(f"steps must be at least 2, not {steps}: LoRA's A has no gradient in the first")
    from kit.evidence.training_probe import probe_training

    data = prepared(model, batch)
    _require_trainable(model)
    _require_fresh_optimizer(model)
    probe = probe_training(model, data, steps)
    _judge_finite(probe)
    _judge_frozen(model, data, probe)
    _judge_rate(probe)
    _judge_gradients(model, data, probe)
    _judge_updates(probe)
    _judge_losses(model, data, probe, steps)
    return probe.losses


def prepared(model: "keras.Model", batch: Any) -> "Data":
    """The arrays of a batch for a model that is compiled, built, and placed with them."""
    import keras
    import numpy as np

    from kit.evidence.placement import placements
    from kit.evidence.train_step import build_on, count_examples, prepare_data

    if getattr(model, "optimizer", None) is None:
        cause = "The model is not compiled, so that it has no optimizer."
        raise Failed("NOTHING_TO_CHECK", cause, remedy="Call model.compile with an optimizer and a loss.")
    data = prepare_data(model, batch)
    examples = count_examples(data)
    if not examples:
        raise Failed("NOTHING_TO_CHECK", "The batch has 0 examples.", remedy="Pass a batch with examples.")
    if data[2] is not None and not any(np.any(np.asarray(one)) for one in keras.tree.flatten(data[2])):
        cause = "All sample weights of the batch are 0."
        raise Failed("NOTHING_TO_CHECK", cause, remedy="Pass a batch in which an example, or a token, has a weight.")
    distribution = keras.distribution.distribution()
    if distribution is not None:
        mesh = distribution.device_mesh
        require_even(examples, mesh.shape[mesh.axis_names.index(distribution.batch_dim_name)], mesh.shape)
    build_on(model, data[0])
    found = placements(model.weights)
    require_values(found)
    if distribution is not None and distribution.device_mesh.devices.size > 1:
        judge_device_counts(found)
    return data


def require_even(examples: int, parts: int, shape: Sequence[int]) -> None:
    """Raises ``Failed`` if the batch axis of a mesh does not divide the number of examples."""
    from kit.formatting import format_tuple

    if examples % parts:
        raise Failed(
            "LAYOUT_AXIS_DOES_NOT_DIVIDE",
            f"The batch has {examples} examples, which the mesh {format_tuple(shape)} cannot split into {parts} equal "
            "parts.",
            remedy=f"Choose a number of examples that {parts} divides.",
        )


def _require_trainable(model: "keras.Model") -> None:
    if model.trainable_variables:
        return
    quantized = sum("int" in str(weight.dtype) for weight in model.weights)
    raise Failed(
        "TRAINING_NOTHING_TRAINABLE",
        f"None of the model's {len(model.weights)} weights is trainable"
        + (f"; {quantized} of them are quantized." if quantized else "."),
        ("weights", "trainable", "quantized"),
        [(len(model.weights), 0, quantized)],
        "Enable LoRA: integers cannot be trained." if quantized else "",
    )


def _require_fresh_optimizer(model: "keras.Model") -> None:
    """A built optimizer has the model's trainable variables, and no others."""
    optimizer = model.optimizer
    if not optimizer.built:
        return
    known, trainable = optimizer._trainable_variables, model.trainable_variables
    if [id(one) for one in known] == [id(one) for one in trainable]:
        return
    added = [one.path for one in trainable if all(one is not other for other in known)]
    removed = [one.path for one in known if all(one is not other for other in trainable)]
    rows: list[Row] = [(path, "no", "yes") for path in added] + [(path, "yes", "no") for path in removed]
    raise Failed(
        "TRAINING_OPTIMIZER_IS_STALE",
        f"The optimizer was built for {len(known)} variables, and the model has {len(trainable)} trainable ones: "
        + ("what is trainable has changed since." if rows else "they are in another order."),
        ("variable", "in the optimizer", "trainable"),
        limited(rows),
    )


def _judge_finite(probe: "TrainingProbe") -> None:
    trained = [one for one in probe.variables if one.kind == "trainable"]
    if "loss" not in probe.logs:
        raise Failed(
            "NOTHING_TO_CHECK",
            f"The model's train_step reports no loss, but {', '.join(probe.logs) or 'nothing'}.",
            remedy='Return the loss from train_step under the name "loss".',
        )
    if not math.isfinite(probe.losses[0]):
        raise Failed(
            "LOSS_NOT_FINITE",
            "The loss on the batch is not finite before the first step.",
            *_losses(probe),
            remedy="Check the batch (labels in range, at least one example with a weight) and the loss.",
        )
    if all(gradient is None for one in trained for gradient in one.gradients):
        raise Failed(
            "TRAINING_GRADIENT_NOT_FINITE",
            f"Loss scaling skipped each of the {len(probe.learning_rates)} steps, since gradients are not finite.",
            *_losses(probe),
            remedy="Compile with a smaller scale: LossScaleOptimizer(optimizer, initial_scale=…), or use bfloat16.",
        )
    wrong = [one for one in trained if any(value is not None and not math.isfinite(value) for value in one.gradients)]
    # If the loss is not finite either, a step has gone too far, and the gradients follow.
    if wrong and math.isfinite(probe.losses[_first_wrong_step(wrong)]):
        raise Failed(
            "TRAINING_GRADIENT_NOT_FINITE",
            f"{len(wrong)} of {len(trained)} trainable variables have a gradient that is not finite, although the loss "
            f"is ({probe.losses[_first_wrong_step(wrong)]:.6g}).",
            ("variable", *_steps(probe)),
            limited([(one.path, *_shown(one)) for one in wrong]),
        )


def _first_wrong_step(wrong: "Sequence[ProbedVariable]") -> int:
    return min(
        number
        for one in wrong
        for number, value in enumerate(one.gradients)
        if value is not None and not math.isfinite(value)
    )


def _judge_frozen(model: "keras.Model", data: "Data", probe: "TrainingProbe") -> None:
    moved = [one for one in probe.variables if one.kind == "frozen" and one.moved != 0]
    if not moved:
        return
    from kit.evidence.training_probe import forward_moves

    assigned = forward_moves(model, data)
    in_forward = [one.path in assigned for one in moved]
    if all(in_forward):
        where, remedy = "the forward pass assigns new values to them", "Remove the assignment from the layer's call."
    elif not any(in_forward):
        where = f"{type(model).__name__}.train_step returns other values for them"
        remedy = "In train_step, return the non-trainable variables as the forward pass gives them."
    else:
        where = "the forward pass assigns some of them, and train_step returns other values for the rest"
        remedy = "Remove both: what is frozen has the same values after a step."
    raise Failed(
        "TRAINING_FROZEN_VARIABLE_MOVES",
        f"{len(moved)} frozen variable{'s move' if len(moved) > 1 else ' moves'} within {len(probe.learning_rates)} "
        f"steps: {where.replace('them', 'it') if len(moved) == 1 else where}.",
        ("frozen variable", "largest change", "assigned by"),
        limited(
            [
                (one.path, f"{one.moved:.3g}", "the forward pass" if there else "train_step")
                for one, there in zip(moved, in_forward, strict=True)
            ]
        ),
        remedy,
    )


def _judge_rate(probe: "TrainingProbe") -> None:
    if any(probe.learning_rates):
        return
    raise Failed(
        "TRAINING_UPDATE_IS_LOST",
        f"The learning rate is 0 in each of the first {len(probe.learning_rates)} steps.",
        *_losses(probe),
        remedy="Compile with a learning rate above 0, also in the first steps of a schedule.",
    )


def _judge_gradients(model: "keras.Model", data: "Data", probe: "TrainingProbe") -> None:
    trained = [one for one in probe.variables if one.kind == "trainable"]
    missing = [number for number, one in enumerate(trained) if not any(one.gradients)]
    if not missing:
        return
    causes = _why_no_gradient(model, data, [trained[number].path for number in missing], missing)
    # The cause that comes first in this order explains what follows.
    most = min(set(causes), key=lambda cause: (-causes.count(cause), list(_NO_GRADIENT).index(cause)))
    headline, remedy = _NO_GRADIENT[most]
    number = causes.count(most)
    others = len(missing) - number
    raise Failed(
        "TRAINING_NO_GRADIENT",
        f"{number} of {len(trained)} trainable variables {'have' if number > 1 else 'has'} no gradient in "
        f"{len(probe.learning_rates)} steps: {headline}." + (f" {others} more have another cause." if others else ""),
        ("variable", "why", *_steps(probe)),
        limited(
            [(trained[one].path, cause, *_shown(trained[one])) for one, cause in zip(missing, causes, strict=True)]
        ),
        remedy,
    )


#: Cause in brief -> headline and remedy.
_NO_GRADIENT = {
    "A and B are 0": (
        "both matrices of their adapters are 0, so that each keeps the other's gradient at 0",
        "Load adapters with load_lora_weights: load_weights sets A and B of a model with LoRA to 0.",
    ),
    "not read": (
        "nothing on the way to the loss reads them",
        "Use the layer's output in the model's output, or freeze the layer.",
    ),
    "cut": (
        "the loss depends on them only through an operation without a gradient (stop_gradient, rounding, a comparison)",
        "Remove that operation from the way to the loss, or freeze the layer.",
    ),
    "0 in train_step": (
        "the model's own train_step gives the optimizer a gradient of 0",
        "Check in train_step of which loss, and with respect to which variables, it takes the gradient.",
    ),
    "0": (
        "it is computed, and is 0 everywhere on this batch",
        "Compare with another batch; if it stays 0, look for a factor of 0 after the layer: a mask, a sample weight, a "
        "ReLU that is never positive.",
    ),
}


def _why_no_gradient(model: "keras.Model", data: "Data", paths: Sequence[str], numbers: Sequence[int]) -> list[str]:
    """For each of these trainable variables one of :data:`_NO_GRADIENT`."""
    import keras

    from kit.evidence.training_probe import uses_of_variables

    dead = _dead_adapters(model)
    own_step = type(model).train_step is not keras.Model.train_step
    # Only Keras' own step computes the loss where it is looked for.
    uses = [] if own_step else uses_of_variables(model, data)
    found = []
    for path, number in zip(paths, numbers, strict=True):
        if path in dead:
            found.append("A and B are 0")
        elif own_step:
            found.append("0 in train_step")
        else:
            read, derived = uses[number]
            found.append("not read" if not read else "0" if derived else "cut")
    return found


def _dead_adapters(model: "keras.Model") -> set[str]:
    """Paths of A and B where both are zero."""
    import numpy as np

    from kit.evidence.adapters import adapters

    values = {one.path: one for one in model.trainable_variables}
    pairs = [layer.adapters for layer in adapters(model).layers if layer.adapters is not None]
    paths = [[one.path for one in pair] for pair in pairs]
    zero = [pair for pair in paths if not any(np.any(np.asarray(values[one].value)) for one in pair if one in values)]
    return {path for pair in zero for path in pair}


def _judge_updates(probe: "TrainingProbe") -> None:
    trained = [one for one in probe.variables if one.kind == "trainable"]
    lost = [one for one in trained if one.moved == 0]
    if not lost:
        return
    coarse = sorted({one.dtype for one in lost if one.dtype in _COARSE})
    if coarse and all(one.dtype in _COARSE for one in lost):
        cause = f"the update is smaller than the steps of {coarse[0]}, {_COARSE[coarse[0]]:.1g} of a value"
        remedy = 'Keep the weights in float32 (dtype="mixed_bfloat16"), or compile with a larger learning rate.'
    else:
        cause = "the optimizer, or train_step, does not change them"
        remedy = "Compare with keras.optimizers.SGD and Keras' own train_step; exchange what differs."
    raise Failed(
        "TRAINING_UPDATE_IS_LOST",
        f"{len(lost)} of {len(trained)} trainable variables have a gradient and do not change in "
        f"{len(probe.learning_rates)} steps: {cause}.",
        ("variable", "dtype", "largest value", *_steps(probe)),
        limited([(one.path, one.dtype, f"{one.largest:.3g}", *_shown(one)) for one in lost]),
        remedy,
    )


def _judge_losses(model: "keras.Model", data: "Data", probe: "TrainingProbe", steps: int) -> None:
    if any(loss < probe.losses[0] for loss in probe.losses[1:]):
        return
    from kit.evidence.training_probe import probe_training

    factors = (0.01, 100.0)
    tried = {factor: probe_training(model, data, steps, factor) for factor in factors}
    falls = [factor for factor, one in tried.items() if any(loss < one.losses[0] for loss in one.losses[1:])]
    rate = max(probe.learning_rates)
    last = f"from {probe.losses[0]:.6g} to {probe.losses[-1]:.6g}"
    equal = all(loss == probe.losses[0] for loss in probe.losses)
    if falls[:1] == [0.01] and not equal:
        cause = f"the learning rate of {rate:g} is too large: with a hundredth of it the loss falls"
        remedy = "Compile with a smaller learning rate."
    elif 100.0 in falls and equal:
        cause = f"the learning rate of {rate:g} is too small to change the loss: with a hundred times as much it falls"
        remedy = "Compile with a larger learning rate."
    else:
        cause = "a hundredth and a hundred times the learning rate were tried too, and the loss falls with neither"
        cause = cause if not falls else f"it falls with {' and '.join(f'{one:g}' for one in falls)} times the rate"
        remedy = "Check that the gradient is that of this loss: its sign, and what train_step does with it."
    raise Failed(
        "TRAINING_LOSS_DOES_NOT_FALL",
        f"The loss does not fall within {steps} steps on the same batch ({last}): {cause}.",
        ("learning rate", "loss", *(f"after {number}" for number in range(1, steps + 1))),
        [
            (f"{rate:g}", *(f"{loss:.6g}" for loss in probe.losses)),
            *((f"{rate * one:g}", *(f"{loss:.6g}" for loss in run.losses)) for one, run in tried.items()),
        ],
        remedy,
    )


def _losses(probe: "TrainingProbe") -> tuple[tuple[str, ...], list[Row]]:
    headings = ("loss", *(f"after {number}" for number in range(1, len(probe.losses))))
    return headings, [tuple(f"{loss:.6g}" for loss in probe.losses)]


def _steps(probe: "TrainingProbe") -> list[str]:
    return [f"gradient {number}" for number in range(1, len(probe.learning_rates) + 1)]


def _shown(variable: "ProbedVariable") -> list[str]:
    return ["skipped" if value is None else f"{value:.2g}" for value in variable.gradients]
