"""The log-likelihood of held-out reviews, measured a few times while a model trains."""

import math
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import keras
import keras_hub
import numpy as np

from kit.data.reviews import held_out_reviews
from kit.run.generation import HELD_OUT_LENGTH, batch_axis_size
from kit.run.training_evidence import HeldOutScore

#: How often the reviews are scored after the start of the training.
TIMES = 10
#: Texts of a batch for each row of the mesh, and the bytes that their logits may have.
TEXTS_PER_ROW, LOGITS_NBYTES = 8, 2**28


class HeldOutScores:
    """Scores the same held-out reviews after each tenth of the steps.

    The reviews are tokenized once, before ``fit``, whose threads use the preprocessor. One program
    of its own computes the scores, and only reads the model's variables.
    """

    def __init__(
        self,
        model: keras_hub.models.CausalLM,
        at_least: int,
        steps: int,
        earlier: Sequence[HeldOutScore] = (),
    ) -> None:
        """Tokenize at least this many reviews, for a training of ``steps`` steps.

        ``earlier`` are the scores of a run that is resumed. The current distribution must be the
        model's.
        """
        self._model = model
        self._every = max(1, math.ceil(steps / TIMES))
        self._steps = steps
        self.scores = list(earlier)
        #: Seconds of this process.
        self.seconds = 0.0
        rows = _texts_at_once(model.backbone.vocabulary_size)
        self.texts = rows * math.ceil(at_least / rows)
        self._batches = [self._placed(batch) for batch in _tokenized(model, held_out_reviews(self.texts), rows)]
        self._program = jax.jit(self._sum_of_log_likelihoods)

    def is_due(self, step: int) -> bool:
        """Whether the reviews are scored after this step; not if they have been."""
        is_time = step % self._every == 0 or step == self._steps
        return is_time and all(score.step != step for score in self.scores)

    def score(self, step: int) -> None:
        """Score the reviews; the model's variables must have their values after this step."""
        started = time.perf_counter()
        trainable, rest = (
            [variable.value for variable in variables]
            for variables in (self._model.trainable_variables, self._model.non_trainable_variables)
        )
        sums = [self._program(trainable, rest, batch) for batch in self._batches]
        total, tokens = np.sum([[float(number) for number in pair] for pair in sums], axis=0)
        self.scores.append(HeldOutScore(step, float(total / tokens)))
        self.seconds += time.perf_counter() - started

    def _sum_of_log_likelihoods(self, trainable: list, rest: list, batch: tuple) -> tuple[Any, Any]:
        """The sum over the tokens of a batch, and their number."""
        x, next_tokens, weight = batch
        logits, _ = self._model.stateless_call(trainable, rest, x, training=False)
        logits = logits.astype("float32")
        # A lookup would gather logits that are split over devices.
        is_next = jax.lax.broadcasted_iota(next_tokens.dtype, logits.shape, logits.ndim - 1) == next_tokens[..., None]
        chosen = jnp.sum(jnp.where(is_next, logits, 0), axis=-1)
        log_likelihood = chosen - jax.nn.logsumexp(logits, axis=-1)
        weight = weight.astype("float32")
        return (log_likelihood * weight).sum(), weight.sum()

    def _placed(self, batch: tuple) -> tuple:
        """A batch, split over the batch axis of the mesh."""
        distribution = keras.distribution.distribution()
        if distribution is None:
            return batch
        return keras.tree.map_structure(
            lambda array: jax.device_put(array, distribution.get_data_layout(array.shape).backend_layout), batch
        )


def _texts_at_once(vocabulary_size: int) -> int:
    nbytes = 4 * HELD_OUT_LENGTH * vocabulary_size
    axis = batch_axis_size()
    return max(1, min(TEXTS_PER_ROW, LOGITS_NBYTES // (nbytes * axis))) * axis


def _tokenized(model: keras_hub.models.CausalLM, texts: Sequence[str], rows: int) -> list[tuple]:
    """Batches of inputs, next tokens and weights, as NumPy arrays."""
    length, model.preprocessor.sequence_length = model.preprocessor.sequence_length, HELD_OUT_LENGTH
    try:
        batches = [model.preprocessor(list(texts[start : start + rows])) for start in range(0, len(texts), rows)]
    finally:
        model.preprocessor.sequence_length = length
    return [keras.tree.map_structure(np.asarray, batch) for batch in batches]
