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
    # region task 1
    #: Generate greedily, whatever sampler the model was compiled with, and leave its sampler and what else was compiled
    #: as they were. On a mesh, `generate` takes batches that the batch axis divides: `_batch_axis_size` says what divides.
    sampler, generate_function = model.sampler, model.generate_function
    if not isinstance(sampler, keras_hub.samplers.GreedySampler):
        model.sampler, model.generate_function = keras_hub.samplers.GreedySampler(), None
    try:
        # A batch must divide over the mesh's batch axis, so one prompt is written out once for each of its rows.
        return model.generate([prompt] * _batch_axis_size(), max_length=max_length)[0]
    finally:
        if model.sampler is not sampler:
            model.sampler, model.generate_function = sampler, generate_function
    # endregion


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
        # region task 2
        #: Add this chunk's log-likelihood to `total` and its number of tokens to `tokens`, both as plain floats.
        #: `model.predict_on_batch(chunk)` gives the logits of `next_tokens`, shape (size, length, vocabulary); `weight` is 0 at
        #: padding. The last of the size rows may be fillers: only the first `chunk_size` count.
        logits = np.asarray(model.predict_on_batch(chunk), dtype="float32")
        largest = logits.max(axis=-1, keepdims=True)
        log_normalizer = largest[..., 0] + np.log(np.exp(logits - largest).sum(axis=-1))
        chosen = np.take_along_axis(logits, np.asarray(next_tokens)[..., None], axis=-1)[..., 0]
        weight = np.asarray(weight, dtype="float64")[:chunk_size]
        total += float(((chosen - log_normalizer)[:chunk_size] * weight).sum())
        tokens += float(weight.sum())
        # endregion
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
    # region task 3
    #: Return the change of each score, and "shift".
    change = {name: after[name] - before[name] for name in before}
    return change | {"shift": min(change["reviews"], change["reviews"] - change["lists"])}
    # endregion
