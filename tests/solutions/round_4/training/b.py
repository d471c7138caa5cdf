"""The training loop: loss, optimizer and metric, with Keras' ``fit`` and as a step by hand."""

from collections.abc import Callable, Iterable
from typing import Any

import grain
import jax
import keras
import keras_hub
import numpy as np


def compile_for_finetuning(model: keras_hub.models.CausalLM, learning_rate: float, weight_decay: float) -> None:
    """Compile the model with next-token cross-entropy, AdamW and an accuracy.

    Neither the loss nor the accuracy counts padding.

    Args:
        model: The model, with LoRA or without.
        learning_rate: The constant learning rate of AdamW.
        weight_decay: The weight decay of AdamW. Biases and normalization scales do not decay.

    """
    optimizer = keras.optimizers.AdamW(learning_rate=learning_rate, weight_decay=weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    optimizer.exclude_from_weight_decay(var_names=["scale"])
    model.compile(
        optimizer=optimizer,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        weighted_metrics=[keras.metrics.SparseCategoricalAccuracy()],
    )


def finetune(
    model: keras_hub.models.CausalLM,
    batches: Iterable[list[str]],
    epochs: int = 1,
    callbacks: Iterable[keras.callbacks.Callback] = (),
) -> keras.callbacks.History:
    """Train on batches of texts, in their order, with the preprocessor's sequence length.

    The preprocessor and the list of batches are unchanged afterwards, and the optimizer is the one
    that the model was compiled with.

    Args:
        model: A compiled model with a preprocessor.
        batches: Lists of texts. The size of the mesh's batch axis divides the length of each.
        epochs: Number of passes over the batches.
        callbacks: Passed to ``fit``. Batches and callbacks can be iterators, which can be read
            only once.

    """
    source = [np.array(batch, dtype=object) for batch in batches]
    return model.fit(grain.MapDataset.source(source), epochs=epochs, callbacks=list(callbacks), shuffle=False)


def make_train_step(model: keras_hub.models.CausalLM) -> Callable[[tuple, tuple], tuple[tuple, Any]]:
    """Make the compiled training step ``step(state, batch) -> (state, loss)`` that ``fit`` runs.

    ``state`` is (trainable, non_trainable, optimizer_variables), three lists of arrays. It is
    donated: do not use it after the call. ``batch`` is (x, y, sample_weight) as the preprocessor
    returns it.

    Args:
        model: A compiled model whose optimizer is built.

    """
    loss_function = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def compute_loss(trainable: list, non_trainable: list, batch: tuple) -> tuple[Any, list]:
        x, y, sample_weight = batch
        logits, non_trainable = model.stateless_call(trainable, non_trainable, x, training=True)
        return loss_function(y, logits, sample_weight), non_trainable

    def step(state: tuple, batch: tuple) -> tuple[tuple, Any]:
        trainable, non_trainable, optimizer_variables = state
        gradient = jax.value_and_grad(compute_loss, has_aux=True)
        (loss, non_trainable), gradients = gradient(trainable, non_trainable, batch)
        trainable, optimizer_variables = model.optimizer.stateless_apply(optimizer_variables, gradients, trainable)
        return (trainable, non_trainable, optimizer_variables), loss

    return jax.jit(step, donate_argnums=0)
