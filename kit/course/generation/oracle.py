"""What the bundled model generates and predicts, computed on one device without a cache."""

from collections.abc import Sequence
from typing import Any

import jax
import keras_hub
import numpy as np

from kit.evidence import unsharded_twin as twin

#: What :func:`raise_logits` adds: ``exp`` overflows in float32 above 88.7, in float64 above 709.
RAISED = 100.0
#: What :func:`sharpen` multiplies all logits by.
SHARPENED = 6.0


def raise_logits(model: keras_hub.models.CausalLM) -> None:
    """Add a number to all logits of a model, which changes no probability."""
    call = model.call
    model.call = lambda *arguments, **options: call(*arguments, **options) + RAISED
    model.predict_function = None


def sharpen(model: keras_hub.models.CausalLM) -> None:
    """Multiply all logits of a model, so that some tokens of the texts are very improbable.

    The least of the log-likelihoods is then below -104: in float32 such a probability is 0, and its
    logarithm is not finite. The logarithm of 1e-12, at which probabilities are often clipped, is
    -27.6.
    """
    scale = model.backbone.get_layer("final_normalization").scale
    # Gemma multiplies by 1 + scale.
    scale.assign(SHARPENED * (1 + scale.value) - 1)


def change_weights(model: keras_hub.models.CausalLM) -> None:
    """Change a kernel of the last block, so that the model continues a prompt in another way."""
    kernel = model.backbone.get_layer(f"decoder_block_{model.backbone.num_layers - 1}").ffw_linear.kernel
    kernel.assign(-3 * kernel.value)


def token_ids(tokens: Any) -> list[int]:
    """The ids of tokens as a list, without padding."""
    return [int(token) for token in np.asarray(tokens).ravel() if token]


def greedy_completion(model: keras_hub.models.CausalLM, prompt: str, max_length: int) -> str:
    """The most probable text of ``max_length`` tokens, start token and prompt included.

    Computed with a whole forward pass for each token.
    """
    tokenizer = model.preprocessor.tokenizer
    ids: Sequence[int] = [tokenizer.start_token_id, *token_ids(tokenizer(prompt))]
    with twin.on_one_device(model) as values:
        forward = jax.jit(lambda x: model.stateless_call(*values, x)[0])
        while len(ids) < max_length:
            padded = np.zeros((1, max_length), "int32")
            padded[0, : len(ids)] = ids
            logits = forward({"token_ids": padded, "padding_mask": padded != 0})
            ids = [*ids, int(np.asarray(logits)[0, len(ids) - 1].argmax())]
            if ids[-1] == tokenizer.end_token_id:
                break
    return str(tokenizer.detokenize(np.asarray(ids[1:])))


def logits_of(model: keras_hub.models.CausalLM, x: dict[str, np.ndarray]) -> np.ndarray:
    """The logits of token ids of shape (batch, length): (batch, length, vocabulary)."""
    with twin.on_one_device(model) as values:
        return np.asarray(jax.jit(lambda values, x: model.stateless_call(*values, x)[0])(values, x))
