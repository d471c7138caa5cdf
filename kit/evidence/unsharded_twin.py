"""The unsharded twin: the training step on one device, without Keras' losses and optimizers.

The network is the model's own. The loss is the weighted cross-entropy of the next token, divided by
the number of all positions, as Keras reduces it. The optimizer is AdamW (Loshchilov and Hutter
2019, algorithm 2) as Keras implements it: weights decay by rate x decay before the step, and
epsilon is added to the root of the uncorrected second moment.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import keras
import keras_hub
import numpy as np

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-7
#: Names of variables whose weights do not decay.
WITHOUT_DECAY = ("bias", "scale")


@dataclass(frozen=True)
class Trajectory:
    """Losses and weights of a training run."""

    losses: tuple[float, ...]
    #: Variable path -> value after the last step.
    trainable: dict[str, np.ndarray]


def tokenized(model: keras_hub.models.CausalLM, batch: Sequence[str]) -> tuple[Any, Any, Any]:
    """Inputs, targets and weights of a batch as the preprocessor returns them, as NumPy arrays."""
    x, y, sample_weight = model.preprocessor(list(batch))
    return {name: np.asarray(value) for name, value in x.items()}, np.asarray(y), np.asarray(sample_weight)


def cross_entropy(logits: Any, y: Any, sample_weight: Any) -> Any:
    """The loss of a batch, in nats per position.

    The logits have the shape (batch, length, vocabulary); the next tokens ``y`` and the weights,
    which are 0 at padding, have the shape (batch, length).
    """
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), y[..., None], axis=-1)[..., 0]
    return -(chosen * sample_weight).sum() / sample_weight.size


@contextlib.contextmanager
def on_one_device(model: keras_hub.models.CausalLM) -> Iterator[tuple[list[Any], list[Any]]]:
    """Set no distribution meanwhile, and give the trainable and the other values on one device."""
    distribution = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        trainable, rest = (
            [jnp.asarray(np.asarray(variable.value)) for variable in variables]
            for variables in (model.trainable_variables, model.non_trainable_variables)
        )
        yield trainable, rest
    finally:
        keras.distribution.set_distribution(distribution)


def train(
    model: keras_hub.models.CausalLM,
    batches: Sequence[Sequence[str]],
    learning_rate: float,
    weight_decay: float,
    report: Callable[[int], None] = lambda _: None,
) -> Trajectory:
    """Train a copy of the model's trainable variables on one device; the model is not changed.

    Biases and scales do not decay. The model may be under any distribution. There is one batch of
    texts per step, and ``report`` gets the number of steps that are done. Shorter batches are
    filled up with texts that have no weight, so that one program does for all; so a model with
    batches of different lengths must have no dropout.
    """
    paths = [variable.path for variable in model.trainable_variables]
    decays = [weight_decay * (path.rpartition("/")[2] not in WITHOUT_DECAY) for path in paths]
    with on_one_device(model) as (trainable, rest):

        def loss(trainable: list, rest: list, x: Any, y: Any, sample_weight: Any, scale: Any) -> Any:
            # The random states of dropout are among the rest, and change from step to step.
            logits, rest = model.stateless_call(trainable, rest, x, training=True)
            return scale * cross_entropy(logits, y, sample_weight), rest

        @jax.jit
        def step(trainable: list, rest: list, first: list, second: list, number: Any, batch: tuple) -> tuple:
            (value, rest), gradients = jax.value_and_grad(loss, has_aux=True)(trainable, rest, *batch)
            rate = learning_rate * jnp.sqrt(1 - BETA_2**number) / (1 - BETA_1**number)
            trainable = [
                variable * (1 - learning_rate * decay) for variable, decay in zip(trainable, decays, strict=True)
            ]
            first = [m + (g - m) * (1 - BETA_1) for m, g in zip(first, gradients, strict=True)]
            second = [v + (g * g - v) * (1 - BETA_2) for v, g in zip(second, gradients, strict=True)]
            trainable = [
                variable - rate * m / (jnp.sqrt(v) + EPSILON)
                for variable, m, v in zip(trainable, first, second, strict=True)
            ]
            return trainable, rest, first, second, value

        first = [jnp.zeros_like(variable) for variable in trainable]
        second = [jnp.zeros_like(variable) for variable in trainable]
        losses, largest = [], max(map(len, batches))
        for number, batch in enumerate(batches, start=1):
            x, y, sample_weight = tokenized(model, [*batch, *[batch[0]] * (largest - len(batch))])
            sample_weight = sample_weight * (np.arange(largest) < len(batch))[:, None]
            trainable, rest, first, second, value = step(
                trainable,
                rest,
                first,
                second,
                jnp.float32(number),
                (x, y, sample_weight, np.float32(largest / len(batch))),
            )
            losses.append(float(value))
            report(number)
    return Trajectory(tuple(losses), {path: np.asarray(value) for path, value in zip(paths, trainable, strict=True)})
