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
    optimizer = keras.optimizers.AdamW(learning_rate, weight_decay)
    optimizer.exclude_from_weight_decay(var_names=("bias", "scale"))
    crossentropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True, name="crossentropy")
    accuracy = keras.metrics.SparseCategoricalAccuracy(name="accuracy")
    model.compile(optimizer=optimizer, loss=crossentropy, weighted_metrics=[accuracy])


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
        callbacks: Passed to ``fit``.

    """
    class Batches:
        """Random access to the batches, each converted when it is read."""

        def __init__(self) -> None:
            self.batches = tuple(batches)

        def __len__(self) -> int:
            return len(self.batches)

        def __getitem__(self, index: int) -> np.ndarray:
            return np.asarray(list(self.batches[index]), dtype=object)

    return model.fit(grain.MapDataset.source(Batches()), epochs=epochs, callbacks=[*callbacks], shuffle=False)


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
        logits, updated = model.stateless_call(trainable, non_trainable, x, training=True)
        losses = loss_function.call(y, keras.ops.cast(logits, "float32"))
        weights = keras.ops.cast(sample_weight, losses.dtype)
        return keras.ops.sum(losses * weights) / losses.size, updated

    def step(state: tuple, batch: tuple) -> tuple[tuple, Any]:
        trainable, non_trainable, optimizer_variables = state
        def of_trainable(values: list) -> tuple[Any, list]:
            return compute_loss(values, non_trainable, batch)

        (loss, updated), gradients = jax.value_and_grad(of_trainable, has_aux=True)(trainable)
        new_trainable, new_optimizer = model.optimizer.stateless_apply(optimizer_variables, gradients, trainable)
        return (new_trainable, updated, new_optimizer), loss

    return jax.jit(step, donate_argnums=0)
