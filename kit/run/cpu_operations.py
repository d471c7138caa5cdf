"""Operations of a training step on the CPU: Keras' values, from a program that takes less time.

XLA compiles the gradients of a softmax, a gated activation and a cross-entropy for the CPU as
several passes over memory. Here each gradient is one expression, which needs fewer arrays. Programs
for a GPU and a TPU do not change.
"""

import functools
import math
import types
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import keras
import keras_hub
from keras.src.backend.jax import nn

from kit.models.text_only import replaced

#: As in Keras' own layer, for float32.
MASKED = -1e9


@jax.custom_vjp
def masked_softmax(scores: Any, mask: Any) -> Any:
    """Softmax over the last axis where ``mask`` holds, and 0 elsewhere."""
    return jnp.where(mask, jax.nn.softmax(jnp.where(mask, scores, MASKED)), 0.0)


def _forward(scores: Any, mask: Any) -> tuple[Any, Any]:
    weights = masked_softmax(scores, mask)
    return weights, weights


def _backward(weights: Any, gradient: Any) -> tuple[Any, None]:
    # Of the weights alone, which are 0 where the mask is: one pass, where XLA makes several of the
    # gradients of two selections and a softmax.
    product = weights * gradient
    return product - weights * jnp.sum(product, axis=-1, keepdims=True), None


masked_softmax.defvjp(_forward, _backward)


@jax.custom_vjp
def gated_gelu(gate: Any, values: Any) -> Any:
    """``gelu(gate) * values``, with the approximation of GELU by a hyperbolic tangent."""
    return jax.nn.gelu(gate, approximate=True) * values


def _forward_of_gate(gate: Any, values: Any) -> tuple[Any, Any]:
    return gated_gelu(gate, values), (gate, values)


def _backward_of_gate(kept: Any, gradient: Any) -> tuple[Any, Any]:
    # Of the two inputs alone, so that nothing else of their size is kept for each block.
    gate, values = kept
    scale, cubic = math.sqrt(2 / math.pi), 0.044715
    square = gate * gate
    tangent = jnp.tanh(scale * gate * (1 + cubic * square))
    probability = 0.5 * (1 + tangent)
    slope = probability + 0.5 * scale * gate * (1 - tangent * tangent) * (1 + 3 * cubic * square)
    return gradient * values * slope, gradient * gate * probability


gated_gelu.defvjp(_forward_of_gate, _backward_of_gate)


@jax.custom_vjp
def cross_entropy(logits: Any, targets: Any) -> Any:
    """Cross-entropy of integer targets with the softmax over the last axis of ``logits``."""
    return _forward_of_loss(logits, targets)[0]


def _forward_of_loss(logits: Any, targets: Any) -> tuple[Any, Any]:
    maximum = jnp.max(logits, axis=-1, keepdims=True)
    exponentials = jnp.exp(logits - maximum)
    total = jnp.sum(exponentials, axis=-1, keepdims=True)
    if _on_one_device():
        chosen = jnp.take_along_axis(logits, targets[..., None], axis=-1) - maximum
    else:
        # The same number. A lookup would gather logits that are split over devices.
        chosen = jnp.sum(jnp.where(_is_target(logits, targets), logits - maximum, 0), axis=-1, keepdims=True)
    return (jnp.log(total) - chosen)[..., 0], (exponentials, total, targets)


def _backward_of_loss(kept: Any, gradient: Any) -> tuple[Any, None]:
    exponentials, total, targets = kept
    scaled = exponentials * (gradient[..., None] / total)
    return scaled - jnp.where(_is_target(exponentials, targets), gradient[..., None], 0), None


def _on_one_device() -> bool:
    distribution = keras.distribution.distribution()
    return distribution is None or distribution.device_mesh.devices.size == 1


def _is_target(logits: Any, targets: Any) -> Any:
    return jax.lax.broadcasted_iota(targets.dtype, logits.shape, logits.ndim - 1) == targets[..., None]


cross_entropy.defvjp(_forward_of_loss, _backward_of_loss)


def compute_faster(model: keras_hub.models.CausalLM) -> int:
    """Let a model, and its loss in ``fit``, use these operations; the number of layers changed.

    A layer of another form is not changed. Call it before a function of the model is compiled.
    """
    changed = 0
    for layer in model.backbone._flatten_layers(include_self=False):
        if _has_softmax(layer):
            layer.softmax.call = functools.partial(_softmax, layer.softmax.call)
            if type(layer) is _gemma_attention():
                _change_gemma_attention(layer)
            changed += 1
        if type(layer) in _blocks_with_gates():
            layer.call = functools.partial(_call_with, layer.call, keras.activations, "gelu", _LazyGelu)
            changed += 1
    model.compute_loss = faster_loss(model.compute_loss)
    return changed


def faster_loss(loss: Callable[..., Any]) -> Callable[..., Any]:
    """A function of a loss, or of a step with a loss, in which Keras calls ``cross_entropy``."""
    return functools.partial(_call_with, loss, nn, "sparse_categorical_crossentropy", _cross_entropy)


def _has_softmax(layer: keras.layers.Layer) -> bool:
    softmax = getattr(layer, "softmax", None)
    return isinstance(softmax, keras.layers.Softmax) and softmax.axis == -1 and softmax.dtype == "float32"


def _gemma_attention() -> Any:
    from keras_hub.src.models.gemma.gemma_attention import CachedGemmaAttention

    return CachedGemmaAttention


def _blocks_with_gates() -> tuple[Any, ...]:
    # Those that multiply a GELU by the other gate, and do nothing else with it; Gemma 4 does.
    from keras_hub.src.models.gemma.gemma_decoder_block import GemmaDecoderBlock
    from keras_hub.src.models.gemma3.gemma3_decoder_block import Gemma3DecoderBlock

    return GemmaDecoderBlock, Gemma3DecoderBlock


def _softmax(original: Any, inputs: Any, mask: Any = None) -> Any:
    return original(inputs) if mask is None else masked_softmax(inputs, jnp.asarray(mask) > 0)


def _change_gemma_attention(layer: Any) -> None:
    layer._apply_rope = functools.partial(_rotate, layer)
    if layer.num_query_heads == layer.num_key_value_heads:
        layer._compute_attention = functools.partial(_attention_of_equal_heads, layer, layer._compute_attention)


def _rotate(layer: Any, inputs: Any, start_index: Any, positions: Any = None) -> Any:
    # KerasHub also interleaves the two halves of each head, in queries and in keys, also in cached
    # ones. A scalar product does not depend on the order of its terms.
    if positions is not None:
        return layer.rope_layer(inputs, positions=positions)
    return layer.rope_layer(inputs, start_index=start_index)


class _LazyGelu:
    """What KerasHub's feed-forward layers multiply: ``gelu(gate, approximate=True) * values``."""

    def __init__(self, original: Any, gate: Any, approximate: bool = False) -> None:
        self._gate, self._approximate, self._original = gate, approximate, original

    def __mul__(self, values: Any) -> Any:
        if not self._approximate:
            return self._original(self._gate, approximate=False) * values
        return gated_gelu(self._gate, values)


def _cross_entropy(original: Any, target: Any, output: Any, from_logits: bool = False, axis: int = -1) -> Any:
    targets, logits = jnp.asarray(target), jnp.asarray(output)
    if targets.ndim == logits.ndim and targets.shape[-1] == 1:
        targets = targets[..., 0]
    if not from_logits or axis not in (-1, logits.ndim - 1) or targets.shape != logits.shape[:-1]:
        return original(target, output, from_logits=from_logits, axis=axis)
    return cross_entropy(logits, targets.astype("int32"))


def _call_with(
    function: Callable[..., Any],
    module: types.ModuleType,
    name: str,
    replacement: Callable[..., Any],
    *arguments: Any,
    **keywords: Any,
) -> Any:
    """Call a function while a name of a module, which it looks up, has a replacement."""
    with replaced(module, name, functools.partial(replacement, getattr(module, name))):
        return function(*arguments, **keywords)


def _attention_of_equal_heads(
    layer: Any,
    original: Any,
    query: Any,
    key: Any,
    value: Any,
    attention_mask: Any,
    training: bool = False,
    cache_update_index: Any = 0,
) -> Any:
    """Attention where each query head has its own key and value head.

    KerasHub has a dimension of size 1 for the heads of a group, around which XLA transposes the
    scores.
    """
    as_usual = layer.query_head_dim_normalize and not layer.dropout and layer.logit_soft_cap is None
    if not as_usual or layer.use_sliding_window_attention:
        return original(query, key, value, attention_mask, training, cache_update_index)
    query = query * jnp.asarray(layer.head_dim**-0.5, query.dtype)
    scores = jnp.einsum("btnh,bsnh->bnts", query, key)
    mask = None if attention_mask is None else attention_mask[:, None]
    weights = layer.softmax(scores, mask=mask).astype(scores.dtype)
    return jnp.einsum("bnts,bsnh->btnh", weights, value)
