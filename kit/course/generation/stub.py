"""Generation, and how probable a text is to a model: what the style of a model is measured by."""

from collections.abc import Mapping, Sequence

import keras
import keras_hub
import numpy as np


def _batch_axis_size() -> int:
    """How many examples a batch must be a multiple of, on the mesh that is set."""
    distribution = keras.distribution.distribution()
    if distribution is None:
        return 1
    mesh = distribution.device_mesh
    return dict(zip(mesh.axis_names, mesh.shape, strict=True)).get("batch", 1)


def complete(model: keras_hub.models.CausalLM, prompt: str, max_length: int) -> str:
    """The prompt and its most probable continuation, token by token.

    Args:
        model: The model. Its sampler and what else it was compiled with are left as they were.
        prompt: The beginning of the text.
        max_length: Tokens in all, the prompt's included.

    """
    # Task 1: Generate greedily, whatever sampler the model was compiled with, and leave its sampler and what else was compiled
    # as they were. On a mesh, `generate` takes batches that the batch axis divides: `_batch_axis_size` says what divides.
    raise NotImplementedError("generation, task 1")


def mean_log_likelihood(model: keras_hub.models.CausalLM, texts: Sequence[str]) -> float:
    """The mean over all tokens of the natural logarithm of the probability that the model gives to the next one.

    Padding is not counted. Texts are cut at the preprocessor's sequence length.

    Args:
        model: The model.
        texts: At least one text.

    """
    # Always batches of one size, which the mesh divides, so that one program is compiled. What fills up the last batch
    # has no weight.
    size = 8 * _batch_axis_size()
    total = tokens = 0.0
    for start in range(0, len(texts), size):
        chunk = list(texts[start : start + size])
        chunk_size = len(chunk)
        chunk += [chunk[0]] * (size - chunk_size)
        _, next_tokens, weight = model.preprocessor(chunk)
        # Task 2: Add this chunk's log-likelihood to `total` and its number of tokens to `tokens`, both as plain floats.
        # `model.predict_on_batch(chunk)` gives the logits of `next_tokens`, shape (size, length, vocabulary); `weight` is 0 at
        # padding. The last of the size rows may be fillers: only the first `chunk_size` count.
        raise NotImplementedError("generation, task 2")
    return total / tokens


def style_shift(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """How far each score moved, and how far reviews moved against lists.

    Args:
        before: ``mean_log_likelihood`` of held-out texts before tuning, under "reviews" and "lists".
        after: The same after tuning.

    Returns:
        The change of each score, in nats a token, and under "shift" the smaller of two: how much reviews gained, and how
        much they gained on lists. It is above 0 only if reviews became more probable, and more so than lists.

    """
    # Task 3: Return the change of each score, and "shift".
    raise NotImplementedError("generation, task 3")
