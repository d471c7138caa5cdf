"""The training loop: loss, optimizer and metrics, with Keras' ``fit`` and once more by hand."""

from collections.abc import Callable, Iterable
from typing import Any

import grain
import jax
import keras
import keras_hub
import numpy as np


def compile_for_finetuning(model: keras_hub.models.CausalLM, learning_rate: float, weight_decay: float) -> None:
    """Set next-token cross-entropy, AdamW and accuracy over the tokens that are not padding.

    Args:
        model: The model, with LoRA enabled or not.
        learning_rate: Of AdamW, constant.
        weight_decay: Of AdamW; biases and normalization scales are left out of it.

    """
    # Task 1: Make AdamW with this rate and decay, and leave variables named "bias" or "scale" out of the decay.
    raise NotImplementedError("training, task 1")
    # Task 2: Compile the model with the optimizer, with cross-entropy over the model's logits, and with an accuracy that does not
    # count padding.
    raise NotImplementedError("training, task 2")


def finetune(
    model: keras_hub.models.CausalLM,
    batches: Iterable[list[str]],
    epochs: int = 1,
    callbacks: Iterable[keras.callbacks.Callback] = (),
) -> keras.callbacks.History:
    """Train on batches of text, in their order, with the preprocessor's sequence length.

    Args:
        model: A compiled model with a preprocessor.
        batches: Lists of texts, each as many as the mesh's batch axis divides.
        epochs: Passes over the batches.
        callbacks: Keras callbacks.

    """
    # Task 3: Hand the batches to `fit`, each as it is and in their order. `fit` takes no list of lists of strings; a
    # grain.MapDataset.source whose elements are NumPy arrays with dtype=object will do.
    raise NotImplementedError("training, task 3")


def make_train_step(model: keras_hub.models.CausalLM) -> Callable[[tuple, tuple], tuple[tuple, Any]]:
    """The step that ``fit`` runs, written out: ``step(state, batch) -> (state, loss)``, compiled.

    ``state`` is (trainable, non_trainable, optimizer_variables), three lists of arrays; it is donated, so the one given
    must not be used again. ``batch`` is (x, y, sample_weight) as the preprocessor returns it.

    Args:
        model: A compiled model whose optimizer is built.

    """
    loss_function = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def compute_loss(trainable: list, non_trainable: list, batch: tuple) -> tuple[Any, list]:
        x, y, sample_weight = batch
        # Task 4: Return (loss, non_trainable): call the model without state (`model.stateless_call`, in training mode, returns the
        # logits and the new non_trainable), and weight the loss, so that padding does not count.
        raise NotImplementedError("training, task 4")

    def step(state: tuple, batch: tuple) -> tuple[tuple, Any]:
        trainable, non_trainable, optimizer_variables = state
        # Task 5: Differentiate compute_loss, which returns a pair, let the optimizer apply the gradients without state
        # (`model.optimizer.stateless_apply`, it returns a pair too), and return the new state and the loss.
        raise NotImplementedError("training, task 5")

    return jax.jit(step, donate_argnums=0)
