"""TRAINING_EXTRA_COLLECTIVES in tpu_compile: every core has all of one gradient, which there is room for."""

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
        mesh = keras.distribution.distribution().device_mesh.backend_mesh
        everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
        first = next(number for number, gradient in enumerate(gradients) if gradient.ndim == 3)
        gradients[first] = jax.lax.with_sharding_constraint(gradients[first], everywhere)
        trainable, optimizer_variables = model.optimizer.stateless_apply(optimizer_variables, gradients, trainable)
        return (trainable, non_trainable, optimizer_variables), loss

    return jax.jit(step, donate_argnums=0)
