"""PASSES: train_on_batch instead of fit, and a step with a cross-entropy of its own."""

import jax
import jax.numpy as jnp
import keras
from keras import losses, metrics, optimizers


def compile_for_finetuning(model, learning_rate, weight_decay):
    adamw = optimizers.AdamW(learning_rate, weight_decay=weight_decay)
    spared = [variable for variable in model.variables if variable.path.endswith(("scale", "bias"))]
    if any(variable.trainable for variable in spared):
        adamw.exclude_from_weight_decay(var_list=spared)
    model.compile(
        optimizer=adamw,
        loss=losses.SparseCategoricalCrossentropy(from_logits=True),
        weighted_metrics=[metrics.SparseCategoricalAccuracy(name="accuracy")],
    )


def finetune(model, batches, epochs=1, callbacks=()):
    history = keras.callbacks.History()
    told = keras.callbacks.CallbackList([history, *callbacks], model=model, epochs=epochs, steps=len(batches))
    told.on_train_begin()
    for epoch in range(epochs):
        model.reset_metrics()
        told.on_epoch_begin(epoch)
        for number, batch in enumerate(batches):
            told.on_train_batch_begin(number)
            logs = model.train_on_batch(list(batch), return_dict=True)
            told.on_train_batch_end(number, {name: float(value) for name, value in logs.items()})
        told.on_epoch_end(epoch, {name: float(value) for name, value in logs.items()})
    told.on_train_end()
    return history


def make_train_step(model):
    def negative_log_likelihood(trainable, rest, x, y, weight):
        logits, rest = model.stateless_call(trainable, rest, x, training=True)
        scores = jax.nn.logsumexp(logits, axis=-1) - jnp.take_along_axis(logits, y[..., None], -1)[..., 0]
        return jnp.vdot(scores, weight) / scores.size, rest

    def step(state, batch):
        trainable, rest, slots = state
        x, y, weight = batch
        (value, rest), pull = jax.value_and_grad(negative_log_likelihood, has_aux=True)(trainable, rest, x, y, weight)
        trainable, slots = model.optimizer.stateless_apply(slots, pull, trainable)
        return (trainable, rest, slots), value

    return jax.jit(step, donate_argnums=(0,))
