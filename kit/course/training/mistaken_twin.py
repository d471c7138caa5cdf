"""The unsharded twin with mistakes: one compiled step, in which each mistake is a switch."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import keras_hub
import numpy as np

from kit.course.shared.loss_mistakes import LOSS_NAMES, mistaken_cross_entropy
from kit.course.shared.optimizer_mistakes import DEFAULT_DECAY, DEFAULT_RATE
from kit.evidence import unsharded_twin as twin
from kit.evidence.unsharded_twin import BETA_1, BETA_2, EPSILON
from kit.judge.mistakes import Names

#: Mistakes of the step, besides those of the loss.
_OF_THE_STEP = (
    "mask_of_inputs",
    "not_in_training_mode",
    "random_state_kept",
    "two_forward_passes",
    "gradient_reversed",
    "rate_default",
    "decay_ignored",
    "decay_default",
    "decay_in_gradient",
    "state_lost",
    "moments_lost",
    "step_count_lost",
    "bias_not_corrected",
)

#: Inputs, targets and weights of a batch.
Batch = tuple[Mapping[str, np.ndarray], np.ndarray, np.ndarray]
Switches = Mapping[str, Any]


class MistakenTwin:
    """Trains a model's trainable variables on one device, with mistakes; the model is unchanged."""

    def __init__(self, model: keras_hub.models.CausalLM, learning_rate: float, weight_decay: float) -> None:
        """Take the model, whose trainable variables all decay, and what AdamW is given."""
        self.model = model
        self._rate, self._decay = learning_rate, weight_decay
        self._paths = [variable.path for variable in model.trainable_variables]
        self._step = jax.jit(self._one_step)

    def train(self, batches: Sequence[Batch], names: Names) -> twin.Trajectory:
        """Losses and weights of a run with these mistakes."""
        on = {name: np.asarray(name in names) for name in (*LOSS_NAMES, *_OF_THE_STEP)}
        with twin.on_one_device(self.model) as (trainable, rest):
            zeros = [jnp.zeros_like(variable) for variable in trainable]
            state, losses = (trainable, rest, zeros, zeros), []
            for number, batch in enumerate(batches, start=1):
                state, loss = self._step(state, np.float32(number), batch, on)
                losses.append(loss)
        values = {path: np.asarray(value) for path, value in zip(self._paths, state[0], strict=True)}
        return twin.Trajectory(tuple(map(float, losses)), values)

    def _loss(self, trainable: list, rest: list, batch: Batch, on: Switches) -> tuple[Any, list]:
        x, y, given_weight = batch
        sample_weight = jnp.where(on["mask_of_inputs"], x["padding_mask"], given_weight)

        def logits_in_mode(training: bool) -> Any:
            return self.model.stateless_call(trainable, rest, x, training=training)

        logits, new = jax.lax.cond(
            on["not_in_training_mode"], lambda: logits_in_mode(False), lambda: logits_in_mode(True)
        )
        return mistaken_cross_entropy(logits, x, y, sample_weight, on), new

    def _one_step(self, state: tuple, number: Any, batch: Batch, on: Switches) -> tuple[tuple, Any]:
        trainable, rest, first, second = state
        first_loss, rest_of_pass = jax.lax.cond(
            on["two_forward_passes"],
            lambda: self._loss(trainable, rest, batch, on),
            lambda: (jnp.zeros((), "float32"), rest),
        )
        (loss, new_rest), gradients = jax.value_and_grad(self._loss, has_aux=True)(trainable, rest_of_pass, batch, on)
        loss = jnp.where(on["two_forward_passes"], first_loss, loss)
        rest = [jnp.where(on["random_state_kept"], old, new) for old, new in zip(rest, new_rest, strict=True)]
        forgets = jnp.logical_or(on["state_lost"], on["moments_lost"])
        number = jnp.where(jnp.logical_or(on["state_lost"], on["step_count_lost"]), 1.0, number)
        rate = jnp.where(on["rate_default"], DEFAULT_RATE, self._rate)
        decay = jnp.where(on["decay_default"], DEFAULT_DECAY, jnp.where(on["decay_ignored"], 0.0, self._decay))
        corrected = jnp.sqrt(1 - BETA_2**number) / (1 - BETA_1**number)
        size = rate * jnp.where(on["bias_not_corrected"], 1.0, corrected)
        moments: list[tuple[Any, Any]] = []
        updated = []
        for w, g, old_m, old_v in zip(trainable, gradients, first, second, strict=True):
            g = jnp.where(on["gradient_reversed"], -g, g)
            g = jnp.where(on["decay_in_gradient"], g + decay * w, g)
            w = jnp.where(on["decay_in_gradient"], w, w * (1 - rate * decay))
            m = old_m + (g - old_m) * (1 - BETA_1)
            v = old_v + (g * g - old_v) * (1 - BETA_2)
            updated.append(w - size * m / (jnp.sqrt(v) + EPSILON))
            moments.append((jnp.where(forgets, old_m, m), jnp.where(forgets, old_v, v)))
        return (updated, rest, [m for m, _ in moments], [v for _, v in moments]), loss
