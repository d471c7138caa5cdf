"""Generation and log-likelihoods, which measure the style of a model."""

import contextlib
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
        max_length: Number of tokens of the text, including the start token and the prompt.

    """
    state = {name: getattr(model, name) for name in ("sampler", "generate_function")}
    with contextlib.ExitStack() as restore:
        for name, value in state.items():
            restore.callback(setattr, model, name, value)
        model.generate_function = None
        model.sampler = keras_hub.samplers.get("greedy")
        copies = _batch_axis_size()
        first, *_ = model.generate([prompt for _ in range(copies)], max_length=max_length)
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
        outputs = model.predict_on_batch(chunk)
        for row in range(chunk_size):
            real = np.flatnonzero(np.asarray(weight[row]))
            scores = np.asarray(outputs[row], dtype=np.float64)[real]
            wanted = scores[np.arange(len(real)), np.asarray(next_tokens[row])[real]]
            total += float(np.sum(wanted - np.logaddexp.reduce(scores, axis=1)))
            tokens += float(len(real))
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
    change = {score: after[score] - value for score, value in before.items()}
    change["shift"] = change["reviews"] - max(0, change["lists"])
    return change
