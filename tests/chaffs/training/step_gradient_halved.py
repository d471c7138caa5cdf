"""TRAINING_OFF_THE_TWIN: the rate is halved in the second half of the adapters."""

import jax
import keras

from kit.reference.training import compile_for_finetuning, finetune  # noqa: F401


def make_train_step(model):
    loss_function = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def compute_loss(trainable, non_trainable, batch):
        x, y, sample_weight = batch
        logits, non_trainable = model.stateless_call(trainable, non_trainable, x, training=True)
        return loss_function(y, logits, sample_weight=sample_weight), non_trainable

    def step(state, batch):
        trainable, non_trainable, optimizer_variables = state
        gradient = jax.value_and_grad(compute_loss, has_aux=True)
        (loss, non_trainable), gradients = gradient(trainable, non_trainable, batch)
        trainable, optimizer_variables = model.optimizer.stateless_apply(optimizer_variables, gradients, trainable)
        half = len(trainable) // 2
        trainable = [
            *trainable[:half],
            *(0.5 * (new + old) for new, old in zip(trainable[half:], state[0][half:], strict=True)),
        ]
        return (trainable, non_trainable, optimizer_variables), loss

    return jax.jit(step, donate_argnums=0)
