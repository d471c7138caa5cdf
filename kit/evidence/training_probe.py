"""A few training steps of a model, on copies of its state: losses, gradients, and what moves."""

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import keras
import numpy as np
from jax._src.interpreters import partial_eval

from kit.evidence.train_step import Data, copy_optimizer, spare_training_state, state_variables

#: An optimizer that skips a step, as loss scaling does, leaves this as the largest gradient.
_NOT_APPLIED = -1.0


@dataclass(frozen=True)
class ProbedVariable:
    """A variable of the model, and what a few steps did to it."""

    path: str
    #: "trainable"; "frozen" if it was created trainable, or is in a layer that is not; or "state",
    #: such as the statistics of BatchNormalization and the states of random generators.
    kind: str
    dtype: str
    #: The largest absolute gradient of each step, None where the optimizer skipped the step. Empty
    #: if it is not trainable.
    gradients: tuple[float | None, ...]
    #: The largest absolute value before the first step.
    largest: float
    #: The largest absolute change of an element in all steps.
    moved: float


@dataclass(frozen=True)
class TrainingProbe:
    """What a few steps on one batch did."""

    #: Before the first step, and after each.
    losses: tuple[float, ...]
    #: What ``train_step`` reports.
    logs: tuple[str, ...]
    #: The learning rate of each step.
    learning_rates: tuple[float, ...]
    variables: tuple[ProbedVariable, ...]


def probe_training(model: keras.Model, data: Data, steps: int, rate_factor: float = 1.0) -> TrainingProbe:
    """Run the model's own ``train_step`` a few times on one batch, on copies of its state.

    The optimizer is a new one with the same settings, but without weight decay and accumulation of
    gradients; regularizers are left out. Each step draws the same random numbers, so that losses
    can be compared. ``rate_factor`` multiplies the learning rate. Neither the model nor its
    optimizer changes.
    """
    optimizer = copy_optimizer(model.optimizer, _recording)
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    inner.weight_decay = inner.gradient_accumulation_steps = None
    rates = _set_rates(inner, steps, rate_factor)
    with _no_regularizers(model), spare_training_state(model, optimizer, data):
        groups = state_variables(model)
        state = tuple([variable.value for variable in group] for group in groups)
        step = jax.jit(model.train_step, out_shardings=_out_shardings(state))
        placed = _place(data)
        recorders = _positions(inner.largest_gradients, groups[2])
        seeds = _positions_of_seeds(model)
        losses, gradients, first = [], [], state
        for _ in range(steps + 1):
            logs, after = step(_restarted(state, first, seeds, recorders), placed)
            losses.append(float(logs["loss"]) if "loss" in logs else math.nan)
            gradients.append([_recorded(after[2][position]) for position in recorders])
            previous, state = state, after
        # The last step was for its loss: what moved is what moved before.
        described = _describe(model, groups, first, previous, gradients[:steps])
    return TrainingProbe(tuple(losses), tuple(logs), tuple(rates), tuple(described))


def _recording(optimizer_class: type) -> type:
    """A subclass that keeps the largest gradient of each variable in variables of its own."""

    class Recording(optimizer_class):
        def build(self, variables: list[keras.Variable]) -> None:
            if self.built:
                return
            super().build(variables)
            self.largest_gradients = [
                self.add_variable(
                    shape=(),
                    dtype="float32",
                    initializer=keras.initializers.Constant(_NOT_APPLIED),
                    name=f"largest_gradient_{number}",
                )
                for number, _ in enumerate(variables)
            ]

        def apply(self, grads: list[Any], trainable_variables: Any = None) -> None:
            for largest, gradient in zip(self.largest_gradients, grads, strict=True):
                if gradient is not None and math.prod(gradient.shape):
                    largest.assign(keras.ops.max(keras.ops.abs(keras.ops.cast(gradient, "float32"))))
            super().apply(grads, trainable_variables)

    Recording.__name__ = Recording.__qualname__ = optimizer_class.__name__
    return Recording


def _set_rates(optimizer: keras.optimizers.Optimizer, steps: int, factor: float) -> list[float]:
    """Multiply the learning rate, and return that of each step."""
    schedule = optimizer._learning_rate
    if isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
        rates = [float(schedule(step)) * factor for step in range(steps)]
        if factor != 1.0:
            optimizer.learning_rate = max(rates)
        return rates
    if factor != 1.0:
        optimizer.learning_rate = float(optimizer.learning_rate) * factor
    return [float(optimizer.learning_rate)] * steps


@contextlib.contextmanager
def _no_regularizers(model: keras.Model) -> Iterator[None]:
    """Leave the penalties on weights out of the loss: they give each weight a gradient."""
    before = [(variable, variable.regularizer) for variable in model.variables]
    try:
        for variable, _ in before:
            variable.regularizer = None
        yield
    finally:
        for variable, regularizer in before:
            variable.regularizer = regularizer


def _out_shardings(state: tuple[list[jax.Array], ...]) -> Any:
    if keras.distribution.distribution() is None:
        return None
    return None, tuple([array.sharding for array in arrays] for arrays in state)


def _place(data: Data) -> Data:
    """The batch on the devices of the distribution that is set."""
    distribution = keras.distribution.distribution()
    if distribution is None:
        return data

    def put(array: Any) -> Any:
        return (
            None if array is None else jax.device_put(array, distribution.get_data_layout(array.shape).backend_layout)
        )

    return keras.tree.map_structure(put, data)


def _positions(wanted: Sequence[keras.Variable], variables: Sequence[keras.Variable]) -> list[int]:
    # A comparison of variables would compare their values.
    numbers = {id(variable): number for number, variable in enumerate(variables)}
    return [numbers[id(variable)] for variable in wanted]


def _positions_of_seeds(model: keras.Model) -> list[int]:
    weights = {id(weight) for weight in model.weights}
    return [number for number, one in enumerate(model.non_trainable_variables) if id(one) not in weights]


def _restarted(
    state: tuple[list[Any], ...], first: tuple[list[Any], ...], seeds: Sequence[int], recorders: Sequence[int]
) -> tuple[list[Any], ...]:
    """The state with the seeds, recorders and metrics of the first step."""
    trainable, non_trainable, optimizer, _ = state
    non_trainable = [first[1][number] if number in seeds else one for number, one in enumerate(non_trainable)]
    optimizer = [first[2][number] if number in recorders else one for number, one in enumerate(optimizer)]
    return list(trainable), non_trainable, optimizer, list(first[3])


def _recorded(value: Any) -> float | None:
    found = float(value)
    return None if found == _NOT_APPLIED else found


def _describe(
    model: keras.Model,
    groups: tuple[list[keras.Variable], ...],
    first: tuple[list[Any], ...],
    last: tuple[list[Any], ...],
    gradients: list[list[float | None]],
) -> Iterator[ProbedVariable]:
    frozen = {id(variable) for layer in model._flatten_layers() for variable in _frozen_in(layer)}
    for group in (0, 1):
        for number, variable in enumerate(groups[group]):
            before, after = np.asarray(first[group][number]), np.asarray(last[group][number])
            kind = "trainable" if group == 0 else "frozen" if id(variable) in frozen else "state"
            yield ProbedVariable(
                variable.path,
                kind,
                keras.backend.standardize_dtype(variable.dtype),
                tuple(step[number] for step in gradients) if group == 0 else (),
                _largest(before),
                _largest(after.astype("float64") - before.astype("float64")),
            )


def _frozen_in(layer: keras.Layer) -> list[keras.Variable]:
    """Variables that someone has frozen: those of a frozen layer, and those created trainable."""
    created_trainable = [variable for variable in layer._trainable_variables if not variable.trainable]
    # The rank of LoRA freezes the kernel alone. Quantized matrices are created frozen.
    fixed = [variable for variable in layer._non_trainable_variables if "int" in str(variable.dtype)]
    seeds = {id(variable) for generator in layer._seed_generators for variable in [generator.state]}
    own = [*layer._trainable_variables, *layer._non_trainable_variables] if not layer.trainable else created_trainable
    return [variable for variable in [*own, *fixed] if id(variable) not in seeds and not variable.trainable]


def _largest(values: np.ndarray) -> float:
    return float(np.max(np.abs(values.astype("float64")))) if values.size else 0.0


def uses_of_variables(model: keras.Model, data: Data) -> list[tuple[bool, bool]]:
    """Whether the loss, and its gradient, depend on anything, for each trainable variable.

    ``(False, False)`` is a variable that no operation on the way to the loss reads, ``(True,
    False)`` one whose gradient JAX knows to be zero before it computes, as after
    ``stop_gradient``, rounding or a comparison.
    """
    with _no_regularizers(model), spare_training_state(model, copy_optimizer(model.optimizer), data):
        trainable, non_trainable, optimizer, metrics = (
            [variable.value for variable in group] for group in state_variables(model)
        )
        x, y, sample_weight = data

        def loss(values: list[Any]) -> Any:
            return model.compute_loss_and_updates(
                values, non_trainable, metrics, x, y, sample_weight, training=True, optimizer_variables=optimizer
            )[0]

        forward = jax.make_jaxpr(loss)(trainable)
        backward = jax.make_jaxpr(jax.grad(loss))(trainable)
    used = partial_eval.dce_jaxpr(forward.jaxpr, [True])[1]
    found = []
    for number, read in enumerate(used):
        wanted = [position == number for position in range(len(trainable))]
        found.append((read, any(partial_eval.dce_jaxpr(backward.jaxpr, wanted)[1])))
    return found


def forward_moves(model: keras.Model, data: Data) -> set[str]:
    """Paths of the non-trainable variables that the forward pass of a step assigns."""
    variables = model.non_trainable_variables
    trainable = [variable.value for variable in model.trainable_variables]
    before = [variable.value for variable in variables]
    keywords = {"training": True} if model._call_has_training_arg else {}

    def forward(values: list[Any], x: Any) -> Any:
        return model.stateless_call(trainable, values, x, **keywords)[1]

    after = jax.jit(forward)(before, _place(data)[0])
    return {
        variable.path
        for variable, new, old in zip(variables, after, before, strict=True)
        if not np.array_equal(np.asarray(new), np.asarray(old))
    }
