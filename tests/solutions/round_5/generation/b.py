"""Generation and log-likelihoods, which measure the style of a model."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence

import keras
import keras_hub
import numpy as np
import scipy.special


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


@contextlib.contextmanager
def _greedy(model: keras_hub.models.CausalLM) -> Iterator[None]:
    """Let the model generate greedily within the context."""
    names = ("sampler", "generate_function")
    theirs = {name: getattr(model, name) for name in names}
    try:
        model.sampler, model.generate_function = keras_hub.samplers.GreedySampler(), None
        yield
    finally:
        for name, value in theirs.items():
            setattr(model, name, value)


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
    rows = _batch_axis_size()
    with _greedy(model):
        first, *_ = model.generate([prompt for _ in range(rows)], max_length=max_length)
    return first


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
        logits = np.asarray(model.predict_on_batch(chunk))
        targets, counted = np.asarray(next_tokens), np.asarray(weight)
        for row in range(chunk_size):
            positions = np.flatnonzero(counted[row])
            log_p = scipy.special.log_softmax(logits[row, positions].astype("float64"), axis=-1)
            total += float(log_p[np.arange(len(positions)), targets[row, positions]].sum())
            tokens += float(len(positions))
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
    change = {name: after[name] - before[name] for name in ("reviews", "lists")}
    gain = change["reviews"] - change["lists"]
    change["shift"] = gain if gain < change["reviews"] else change["reviews"]
    return change
