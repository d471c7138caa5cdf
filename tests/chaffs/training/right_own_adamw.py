"""PASSES: a data set that is tokenized beforehand, and AdamW written out in the step."""

import grain
import jax
import jax.numpy as jnp
import keras
import numpy as np


def compile_for_finetuning(model, learning_rate, weight_decay):
    optimizer = keras.optimizers.AdamW(
        learning_rate=learning_rate, weight_decay=weight_decay, beta_1=0.9, beta_2=0.999, epsilon=1e-7
    )
    optimizer.exclude_from_weight_decay(var_names=["^bias$", "^scale$"])
    accuracy = keras.metrics.SparseCategoricalAccuracy()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum_over_batch_size")
    model.compile(optimizer, loss, weighted_metrics=[accuracy])


def finetune(model, batches, epochs=1, callbacks=()):
    tokenized = [jax.tree.map(np.asarray, model.preprocessor(list(batch))) for batch in batches]
    dataset = grain.MapDataset.source(tokenized)
    # What is tokenized already must not be tokenized once more.
    preprocessor, model.preprocessor = model.preprocessor, None
    try:
        return model.fit(dataset, epochs=epochs, shuffle=False, callbacks=list(callbacks))
    finally:
        model.preprocessor = preprocessor


def make_train_step(model):
    optimizer = model.optimizer
    rate, decay = float(optimizer.learning_rate), optimizer.weight_decay
    beta_1, beta_2, epsilon = optimizer.beta_1, optimizer.beta_2, optimizer.epsilon
    paths = [variable.path for variable in optimizer.variables]

    def loss(trainable, rest, batch):
        x, y, weight = batch
        logits, rest = model.stateless_call(trainable, rest, x, training=True)
        return -(jnp.take_along_axis(jax.nn.log_softmax(logits), y[..., None], -1)[..., 0] * weight).mean(), rest

    def step(state, batch):
        trainable, rest, slots = state
        (value, rest), gradients = jax.value_and_grad(loss, has_aux=True)(trainable, rest, batch)
        named = dict(zip(paths, slots, strict=True))
        count = optimizer.iterations.path
        named[count] = named[count] + 1
        number = named[count].astype("float32")
        firsts = [path for path in paths if path.endswith("momentum")]
        seconds = [path for path in paths if path.endswith("velocity")]
        assert len(firsts) == len(seconds) == len(trainable), paths
        new = []
        for variable, gradient, first, second in zip(trainable, gradients, firsts, seconds, strict=True):
            variable = variable - rate * decay * variable
            named[first] = beta_1 * named[first] + (1 - beta_1) * gradient
            named[second] = beta_2 * named[second] + (1 - beta_2) * gradient**2
            size = rate * jnp.sqrt(1 - beta_2**number) / (1 - beta_1**number)
            new.append(variable - size * named[first] / (jnp.sqrt(named[second]) + epsilon))
        return (new, rest, [named[path] for path in paths]), value

    return jax.jit(step, donate_argnums=(0,))
