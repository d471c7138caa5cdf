"""The usual mistakes in the loss and in the accuracy of next tokens, and what they compute."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kit.judge.mistakes import Mistake, MistakeTable, Names, Values

#: Mistakes of a loss. None of the sections is of an exercise but ``training``.
LOSS = (
    Mistake(
        "padding_counted",
        "TRAINING_COUNTS_PADDING",
        "The loss counts padding: each position has the weight 1.",
        "Pass `sample_weight`, which is 0 at padding, to the loss function.",
    ),
    Mistake(
        "divided_by_weights",
        "TRAINING_OFF_THE_TWIN",
        "The sum of the losses is divided by the number of tokens that are not padding. Keras divides it by the "
        "number of all positions.",
        "Divide by batch x length, as Keras' default reduction does.",
        "training#Padding",
    ),
    Mistake(
        "summed",
        "TRAINING_OFF_THE_TWIN",
        "The loss is the sum over all positions, not their mean.",
        "Divide by batch x length, as Keras' default reduction does.",
        "training#Padding",
    ),
    Mistake(
        "summed_per_text",
        "TRAINING_OFF_THE_TWIN",
        "The loss is the sum over the positions of a text, averaged over texts, and not the mean over positions.",
        "Divide by batch x length, as Keras' default reduction does.",
        "training#Padding",
    ),
    Mistake(
        "not_shifted",
        "TRAINING_TARGETS_NOT_SHIFTED",
        "The targets of the loss are the input tokens, not the next tokens.",
        "Use y as the preprocessor returns it: the token after each token of x.",
    ),
    Mistake(
        "shifted_twice",
        "TRAINING_OFF_THE_TWIN",
        "The targets are shifted twice: y is shifted already, so the model learns the token after the next one.",
        "Compare the logits with y at the same position, as the preprocessor returns it.",
        "training#The loss",
    ),
    Mistake(
        "shifted_twice_without_weights",
        "TRAINING_OFF_THE_TWIN",
        "The targets are shifted twice, and the weights are not: y is shifted already, so the model learns the token "
        "after the next one.",
        "Compare the logits with y at the same position, as the preprocessor returns it.",
        "training#The loss",
    ),
    Mistake(
        "on_probabilities",
        "TRAINING_LOSS_ON_PROBABILITIES",
        "The loss treats logits as probabilities.",
        "Pass `from_logits=True` to the loss: the model returns logits.",
    ),
    Mistake(
        "loss_negative",
        "TRAINING_OFF_THE_TWIN",
        "The loss has the wrong sign: training makes the texts less probable.",
        "Minimize the cross-entropy, the negative mean of ln p.",
        "training#The loss",
    ),
)
#: Mistakes of the accuracy.
ACCURACY = (
    Mistake(
        "accuracy_counts_padding",
        "TRAINING_COUNTS_PADDING",
        "The accuracy counts padding.",
        "Pass the accuracy to `compile` in `weighted_metrics`: only these get `sample_weight`, which is 0 at padding.",
    ),
    Mistake(
        "accuracy_of_best_five",
        "NOT_AS_EXPECTED",
        "The accuracy counts a token that is among the five most probable ones.",
        "Pass a SparseCategoricalAccuracy to `compile`, in `weighted_metrics`.",
        "training#Padding",
    ),
)
#: At most one of each group can be made.
EXCLUSIVE = (
    {"divided_by_weights", "summed", "summed_per_text"},
    {"divided_by_weights", "padding_counted"},
    {"shifted_twice_without_weights", "padding_counted"},
    {"not_shifted", "shifted_twice", "shifted_twice_without_weights"},
    {"accuracy_counts_padding", "accuracy_of_best_five"},
)
LOSS_NAMES = tuple(mistake.name for mistake in LOSS)


def mistaken_cross_entropy(logits: Any, x: Any, y: Any, sample_weight: Any, on: Mapping[str, Any]) -> Any:
    """The loss of a batch where the mistakes are made that are switched on.

    Arrays are those of :func:`kit.evidence.unsharded_twin.cross_entropy`. ``on`` has a truth
    value, or a traced one, for each name in :data:`LOSS_NAMES`.
    """
    batch, length = y.shape
    targets = jnp.where(on["not_shifted"], x["token_ids"], y)
    weight = jnp.where(on["padding_counted"], 1.0, sample_weight)
    # Logits without the last position, and targets without the first one.
    twice = jnp.logical_or(on["shifted_twice"], on["shifted_twice_without_weights"])
    targets = jnp.where(twice, jnp.roll(targets, -1, axis=1), targets)
    weight = jnp.where(on["shifted_twice"], jnp.roll(weight, -1, axis=1), weight)
    weight = jnp.where(jnp.logical_and(twice, jnp.arange(length) == length - 1), 0.0, weight)
    positions = batch * (length - jnp.where(twice, 1, 0))
    # Keras normalizes and clips its input if from_logits is False.
    probabilities = jnp.clip(logits / jnp.sum(logits, axis=-1, keepdims=True), 1e-7, 1 - 1e-7)
    scores = jnp.where(on["on_probabilities"], jnp.log(probabilities), jax.nn.log_softmax(logits))
    chosen = jnp.take_along_axis(scores, targets[..., None], axis=-1)[..., 0]
    number = jnp.where(on["divided_by_weights"], weight.sum(), positions)
    number = jnp.where(on["summed"], 1, jnp.where(on["summed_per_text"], batch, number))
    return jnp.where(on["loss_negative"], 1.0, -1.0) * (chosen * weight).sum() / number


def mistaken_accuracy(logits: np.ndarray, y: np.ndarray, sample_weight: np.ndarray, names: Names) -> float:
    """The accuracy over the tokens that are not padding, or what a mistake computes."""
    best = 5 if "accuracy_of_best_five" in names else 1
    right = (np.argsort(-logits, axis=-1)[..., :best] == y[..., None]).any(-1)
    weight = np.ones_like(sample_weight) if "accuracy_counts_padding" in names else sample_weight
    return float((right * weight).sum() / weight.sum())


def compile_table(logits: np.ndarray, x: Any, y: np.ndarray, sample_weight: np.ndarray) -> MistakeTable:
    """The mistakes in what a model is compiled with, for these logits and targets."""
    loss = jax.jit(mistaken_cross_entropy)

    def values(names: Names) -> Values:
        on = {name: name in names for name in LOSS_NAMES}
        return {
            "loss": float(loss(logits, x, y, sample_weight, on)),
            "accuracy": mistaken_accuracy(logits, y, sample_weight, names),
        }

    # float32 sums over 24 positions in another order.
    return MistakeTable((*LOSS, *ACCURACY), values, relative=1e-5, exclusive=EXCLUSIVE)
