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
    # Task 1: Make an AdamW with this rate and decay, and leave its other options at their defaults.
    # Exclude variables named "bias" or "scale" from weight decay.
    optimizer = keras.optimizers.AdamW(learning_rate=learning_rate, weight_decay=weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["bias", "scale"])
    # Task 2: Compile the model with the optimizer, with cross-entropy over the model's logits, and
    # with an accuracy that does not count padding. State the accuracy: without it KerasHub
    # adds one, and a model of plain Keras has none.
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
    # Task 3: Pass the batches to `fit`, unchanged and in order; their lengths may differ. `fit`
    # does not take a list of lists of strings: use a grain.MapDataset.source whose elements are
    # NumPy arrays with dtype=object. The kit blocks TensorFlow, and so tf.data.
    arrays = [np.array(batch, dtype=object) for batch in batches] * epochs
    data = grain.MapDataset.source(arrays)
    return model.fit(data, callbacks=list(callbacks), shuffle=False)


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
        # Task 4: Call the model with `model.stateless_call` in training mode: it returns the logits
        # and the new non_trainable. Weight the loss, so that padding does not count. Return
        # (loss, non_trainable).
        logits, non_trainable = model.stateless_call(trainable, non_trainable, x, training=True)
        loss = loss_function(y, logits, sample_weight=sample_weight)
        return loss, non_trainable

    def step(state: tuple, batch: tuple) -> tuple[tuple, Any]:
        trainable, non_trainable, optimizer_variables = state
        # Task 5: Differentiate compute_loss, which returns a pair. Apply the gradients with
        # `model.optimizer.stateless_apply`, which returns a pair too. Return the new state and
        # the loss.
        differentiate = jax.value_and_grad(compute_loss, has_aux=True)
        (loss, non_trainable), gradients = differentiate(trainable, non_trainable, batch)
        trainable, optimizer_variables = model.optimizer.stateless_apply(optimizer_variables, gradients, trainable)
        return (trainable, non_trainable, optimizer_variables), loss

    return jax.jit(step, donate_argnums=0)
