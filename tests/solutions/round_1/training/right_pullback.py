"""The training loop: loss, optimizer and metric, with Keras' ``fit`` and as a step by hand."""

from collections.abc import Callable, Iterable
from typing import Any

import grain
import jax
import keras
import keras_hub
import numpy as np


class _Batches:
    """Batches of texts, each of which becomes an array when it is read."""

    def __init__(self, batches: Iterable[list[str]]) -> None:
        self._batches = [list(batch) for batch in batches]

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> np.ndarray:
        texts = self._batches[index]
        array = np.empty(len(texts), dtype=object)
        array[:] = texts
        return array


def compile_for_finetuning(model: keras_hub.models.CausalLM, learning_rate: float, weight_decay: float) -> None:
    """Compile the model with next-token cross-entropy, AdamW and an accuracy.

    Neither the loss nor the accuracy counts padding.

    Args:
        model: The model, with LoRA or without.
        learning_rate: The constant learning rate of AdamW.
        weight_decay: The weight decay of AdamW. Biases and normalization scales do not decay.

    """
    optimizer = keras.optimizers.AdamW(learning_rate, weight_decay)
    optimizer.exclude_from_weight_decay(var_names=("scale", "bias"))
    # The defaults of KerasHub are this cross-entropy over logits and a weighted accuracy.
    model.compile(optimizer, loss="auto", weighted_metrics="auto")


def finetune(
    model: keras_hub.models.CausalLM,
    batches: Iterable[list[str]],
    epochs: int = 1,
    callbacks: Iterable[keras.callbacks.Callback] = (),
) -> keras.callbacks.History:
    """Train on batches of texts, in their order, with the preprocessor's sequence length.

    Args:
        model: A compiled model with a preprocessor.
        batches: Lists of texts. The size of the mesh's batch axis divides the length of each.
        epochs: Number of passes over the batches.
        callbacks: Passed to ``fit``.

    """
    options = {"shuffle": False, "callbacks": [*callbacks], "epochs": epochs}
    return model.fit(grain.MapDataset.source(_Batches(batches)), **options)


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
        outputs = model.stateless_call(trainable, non_trainable, x, training=True)
        return loss_function(y, outputs[0], sample_weight), outputs[1]

    def step(state: tuple, batch: tuple) -> tuple[tuple, Any]:
        trainable, non_trainable, optimizer_variables = state
        loss, pull_back, non_trainable = jax.vjp(
            lambda weights: compute_loss(weights, non_trainable, batch), trainable, has_aux=True
        )
        (gradients,) = pull_back(jax.numpy.ones_like(loss))
        applied = model.optimizer.stateless_apply(optimizer_variables, gradients, trainable)
        return (applied[0], non_trainable, applied[1]), loss

    return jax.jit(step, donate_argnums=0)
