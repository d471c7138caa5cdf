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
    options = {"weight_decay": weight_decay, "learning_rate": learning_rate}
    adamw = keras.optimizers.AdamW(**options)
    adamw.exclude_from_weight_decay(var_names={"scale", "bias"})
    crossentropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    accuracy = keras.metrics.SparseCategoricalAccuracy(name="accuracy")
    model.compile(adamw, crossentropy, weighted_metrics=[accuracy])


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
    class Batches:
        """Random access to the batches, each as a fresh array of objects."""

        def __init__(self) -> None:
            self.kept = [tuple(batch) for batch in batches]

        def __len__(self) -> int:
            return len(self.kept)

        def __getitem__(self, index: int) -> np.ndarray:
            array = np.empty(len(self.kept[index]), dtype=object)
            array[:] = self.kept[index]
            return array

    watchers = [*callbacks]
    return model.fit(x=grain.MapDataset.source(Batches()), shuffle=False, callbacks=watchers, epochs=epochs)


def make_train_step(model: keras_hub.models.CausalLM) -> Callable[[tuple, tuple], tuple[tuple, Any]]:
    """Make the compiled training step ``step(state, batch) -> (state, loss)`` that ``fit`` runs.

    ``state`` is (trainable, non_trainable, optimizer_variables), three lists of arrays. It is
    donated: do not use it after the call. ``batch`` is (x, y, sample_weight) as the preprocessor
    returns it.

    Args:
        model: A compiled model whose optimizer is built.

    """

    def compute_loss(trainable: list, non_trainable: list, batch: tuple) -> tuple[Any, list]:
        x, y, sample_weight = batch
        returned = model.stateless_call(trainable, non_trainable, x, training=True)
        logits = returned[0].astype("float32")
        chosen = jax.numpy.take_along_axis(logits, y[..., None], axis=-1)[..., 0]
        costs = jax.nn.logsumexp(logits, axis=-1) - chosen
        return (costs * sample_weight.astype("float32")).sum() / costs.size, returned[1]

    def step(state: tuple, batch: tuple) -> tuple[tuple, Any]:
        trainable, non_trainable, optimizer_variables = state
        def with_loss(weights: list) -> tuple[Any, tuple]:
            loss, others = compute_loss(weights, non_trainable, batch)
            return loss, (loss, others)

        gradients, (loss, others) = jax.grad(with_loss, has_aux=True)(trainable)
        updated = model.optimizer.stateless_apply(optimizer_variables, gradients, trainable)
        return (updated[0], others, updated[1]), loss

    return jax.jit(step, donate_argnums=0)
