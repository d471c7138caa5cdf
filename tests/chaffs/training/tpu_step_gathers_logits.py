"""TRAINING_EXTRA_MEMORY in tpu_compile: every core has all logits; the losses are right."""

import jax
import keras

from kit.reference.training import compile_for_finetuning, finetune  # noqa: F401


def make_train_step(model):
    loss_function = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def compute_loss(trainable, non_trainable, batch):
        x, y, sample_weight = batch
        logits, non_trainable = model.stateless_call(trainable, non_trainable, x, training=True)
        mesh = keras.distribution.distribution().device_mesh.backend_mesh
        by_batch = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("batch"))
        logits = jax.lax.with_sharding_constraint(logits, by_batch)
        return loss_function(y, logits, sample_weight=sample_weight), non_trainable

    def step(state, batch):
        trainable, non_trainable, optimizer_variables = state
        gradient = jax.value_and_grad(compute_loss, has_aux=True)
        (loss, non_trainable), gradients = gradient(trainable, non_trainable, batch)
        trainable, optimizer_variables = model.optimizer.stateless_apply(optimizer_variables, gradients, trainable)
        return (trainable, non_trainable, optimizer_variables), loss

    return jax.jit(step, donate_argnums=0)
