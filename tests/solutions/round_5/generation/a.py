"""Generation and log-likelihoods, which measure the style of a model."""

from collections.abc import Mapping, Sequence

import keras
import keras_hub
import numpy as np


def _batch_axis_size() -> int:
    """Size of the axis "batch" of the current mesh, which must divide the size of a batch."""
    distribution = keras.distribution.distribution()
    if distribution is None:
        return 1
    mesh = distribution.device_mesh
    return dict(zip(mesh.axis_names, mesh.shape, strict=True)).get("batch", 1)


def _rows_per_batch(model: keras_hub.models.CausalLM) -> int:
    """At most 8 texts for each row of the mesh, and fewer if their logits take more than 256 MB."""
    axis = _batch_axis_size()
    nbytes = 4 * model.preprocessor.sequence_length * model.backbone.vocabulary_size
    return max(1, min(8, 2**28 // (nbytes * axis))) * axis


def complete(model: keras_hub.models.CausalLM, prompt: str, max_length: int) -> str:
    """Return the prompt and its most probable continuation, chosen token by token.

    Args:
        model: The model. Its sampler and its compiled functions are unchanged afterwards.
        prompt: The beginning of the text.
        max_length: Number of tokens of the text, including the start token and the prompt. The text
            is shorter if the model ends it.

    """
    # Task 1: Generate greedily, whatever sampler the model is compiled with. Afterwards restore the
    # sampler and the compiled function. On a mesh the axis "batch" must divide the number of
    # prompts that you pass to `generate`: see `_batch_axis_size`.
    sampler, generate_function = model.sampler, model.generate_function
    model.sampler = keras_hub.samplers.GreedySampler()
    model.generate_function = None
    try:
        # The start token and the prompt come before the new tokens.
        length = 1 + len(model.preprocessor.tokenizer(prompt)) + max_length
        texts = model.generate([prompt] * _batch_axis_size(), max_length=length)
    finally:
        model.sampler, model.generate_function = sampler, generate_function
    return texts[0]


def mean_log_likelihood(model: keras_hub.models.CausalLM, texts: Sequence[str]) -> float:
    """Return the mean log-likelihood per token in nats: the mean of ln p(next token).

    Padding does not count. Texts are cut at the preprocessor's sequence length.

    Args:
        model: The model.
        texts: At least one text.

    """
    # All batches have the same size, a multiple of the mesh's batch axis, so that only one program
    # is compiled.
    # The fillers of the last batch do not count.
    size = _rows_per_batch(model)
    total = tokens = 0.0
    for start in range(0, len(texts), size):
        chunk = list(texts[start : start + size])
        chunk_size = len(chunk)
        chunk += [chunk[0]] * (size - chunk_size)
        _, next_tokens, weight = model.preprocessor(chunk)
        # Task 2: Add this chunk's log-likelihood to `total` and its number of tokens to `tokens`,
        # both as plain floats. `model.predict_on_batch(chunk)` returns the logits of
        # `next_tokens`, of shape (size, length, vocabulary). `weight` is 0 at padding. The last
        # rows can be fillers: only the first `chunk_size` rows count.
        logits = np.asarray(model.predict_on_batch(chunk))[:chunk_size].astype("float64")
        targets = np.asarray(next_tokens)[:chunk_size].astype("int64")
        counts = np.asarray(weight)[:chunk_size].astype("float64")
        highest = logits.max(axis=-1, keepdims=True)
        log_sum = highest[..., 0] + np.log(np.exp(logits - highest).sum(axis=-1))
        chosen = np.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
        total += float(np.sum((chosen - log_sum) * counts))
        tokens += float(np.sum(counts))
    return total / tokens


def style_shift(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Return the change of each score, and the shift from lists to reviews.

    Args:
        before: ``mean_log_likelihood`` of held-out texts before tuning, for "reviews" and "lists".
        after: The same after tuning.

    Returns:
        The change of each score in nats per token, and "shift": the smaller of the change of
        reviews and this change minus that of lists. It is above 0 only if reviews become more
        probable and gain relative to lists.

    """
    # Task 3: Return the change of each score, and "shift".
    reviews = after["reviews"] - before["reviews"]
    lists = after["lists"] - before["lists"]
    return {"reviews": reviews, "lists": lists, "shift": min(reviews, reviews - lists)}
