"""The training run of the checkpoint checks: its model, its batches and its step."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import keras
import keras_hub
import numpy as np

from kit.course.shared import small_models
from kit.evidence import unsharded_twin as twin

LEARNING_RATE, WEIGHT_DECAY = 0.01, 0.25
#: Of a fresh model with other values: the rate is a part of what is saved.
OTHER_RATE = 0.02
#: Each entry of the trainable variables of a fresh model with other values.
OTHER_VALUE = 0.01
#: Of LoRA, where a model has it.
RANK = 3

#: The gradients of these layers are this small, as those of some layers of a large model are. Their
#: second moments are below 1e-8, where ``numpy.allclose`` does not distinguish them from zero.
SMALL_GRADIENTS, OF_LAYERS = 2.0**-8, "/value/"

#: Of the learning rate, which is a variable of the optimizer.
RATE_PATH = "optimizer/learning_rate"
#: Variable path -> value.
State = dict[str, np.ndarray]
#: Variable path -> its sharding, and the number of its dimensions.
Layouts = Mapping[str, tuple[Any, int]]


def fresh_model(
    rank: int,
    optimizer_name: str,
    built: bool = True,
    other_values: bool = False,
    dtype: str = "float32",
    num_layers: int = 1,
) -> keras_hub.models.CausalLM:
    """A small compiled model under the distribution that is set; with rank 0 all parameters train.

    The paths of the optimizer's variables begin with ``optimizer_name``. With ``other_values``, the
    trainable variables and the learning rate differ from those of a trained model.
    """
    model = small_models.small_model(rank=rank, num_layers=num_layers, dtype=dtype)
    if other_values:
        # With LoRA, the base has the same values in each model: it comes from the preset.
        for variable in model.trainable_variables:
            variable.assign(np.full(tuple(variable.shape), OTHER_VALUE, "float32"))
    rate = OTHER_RATE if other_values else LEARNING_RATE
    small_models.compile_model(model, rate, WEIGHT_DECAY, optimizer_name, built)
    return model


def batches() -> list[list[str]]:
    """The four batches of the run: two before it is saved, and two after it is resumed."""
    return small_models.batches(4)


def state_of(model: keras_hub.models.CausalLM) -> State:
    """Values of the variables that training changes, by names without the optimizer's own name."""
    model.optimizer.build(model.trainable_variables)
    found = {variable.path: np.asarray(variable.value) for variable in model.trainable_variables}
    for variable in model.optimizer.variables:
        found["optimizer/" + variable.path.partition("/")[2]] = np.asarray(variable.value)
    return found


def fresh_state(model: keras_hub.models.CausalLM) -> State:
    """The state of a fresh model with other values, whose variables are those of this model."""
    found = {path: np.zeros_like(value) for path, value in state_of(model).items()}
    for variable in model.trainable_variables:
        found[variable.path] = np.full_like(found[variable.path], OTHER_VALUE)
    return found | {RATE_PATH: np.full_like(found[RATE_PATH], OTHER_RATE)}


def layouts(variables: Sequence[keras.Variable]) -> Layouts:
    """The sharding of each variable, None if its value is not an array of JAX, and its rank."""
    return {variable.path: (getattr(variable.value, "sharding", None), len(variable.shape)) for variable in variables}


def moved_layouts(before: Layouts, after: Layouts) -> tuple[tuple[str, str, str], ...]:
    """Path and layouts of the variables whose shards are other ones, or on other devices.

    A variable that is gone is left out.
    """
    moved = []
    for path, (expected, rank) in before.items():
        if path not in after:
            continue
        found = after[path][0]
        if found is None or not found.is_equivalent_to(expected, rank):
            spec = "no array of JAX" if found is None else str(getattr(found, "spec", "one device"))
            moved.append((path, str(getattr(expected, "spec", "one device")), spec))
    return tuple(moved)


def differing(expected: State, found: State) -> list[str]:
    """The paths whose values are not bit-identical, or missing."""
    return [path for path, value in expected.items() if path not in found or not np.array_equal(value, found[path])]


def train(model: keras_hub.models.CausalLM, batches: Sequence[Sequence[str]]) -> list[float]:
    """Train the model in place, one step per batch, and return the losses."""
    losses = []
    model.optimizer.build(model.trainable_variables)
    step = _make_step(model)
    for batch in batches:
        trainable, optimizer_variables, loss = step(
            [variable.value for variable in model.trainable_variables],
            [variable.value for variable in model.non_trainable_variables],
            [variable.value for variable in model.optimizer.variables],
            *twin.tokenized(model, batch),
        )
        for variable, value in zip(model.trainable_variables, trainable, strict=True):
            variable.assign(value)
        for variable, value in zip(model.optimizer.variables, optimizer_variables, strict=True):
            variable.assign(value)
        losses.append(float(loss))
    return losses


def logits(model: keras_hub.models.CausalLM, x: dict[str, np.ndarray]) -> np.ndarray:
    """The logits of the model for tokenized texts."""
    values = [
        [variable.value for variable in variables]
        for variables in (model.trainable_variables, model.non_trainable_variables)
    ]
    return np.asarray(jax.jit(lambda values, x: model.stateless_call(*values, x)[0])(values, x))


def _make_step(model: keras_hub.models.CausalLM) -> Callable[..., Any]:
    factors = [SMALL_GRADIENTS if OF_LAYERS in variable.path else 1.0 for variable in model.trainable_variables]

    def compute_loss(trainable: list, non_trainable: list, x: Any, y: Any, sample_weight: Any) -> Any:
        logits, _ = model.stateless_call(trainable, non_trainable, x, training=True)
        return twin.cross_entropy(logits, y, sample_weight)

    @jax.jit
    def step(
        trainable: list, non_trainable: list, optimizer_variables: list, x: Any, y: Any, sample_weight: Any
    ) -> Any:
        loss, gradients = jax.value_and_grad(compute_loss)(trainable, non_trainable, x, y, sample_weight)
        gradients = [factor * gradient for factor, gradient in zip(factors, gradients, strict=True)]
        trainable, optimizer_variables = model.optimizer.stateless_apply(optimizer_variables, gradients, trainable)
        return trainable, optimizer_variables, loss

    return step
