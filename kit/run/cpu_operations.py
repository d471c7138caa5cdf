"""Attention on the CPU: KerasHub's values, from a program that takes less time.

On a GPU and a TPU KerasHub calls a fused operation. On the CPU the softmax of the attention scores
and its gradient took a third of a training step of the bundled model.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import keras
import keras_hub

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


def attend_faster(model: keras_hub.models.CausalLM) -> int:
    """Let each attention layer compute its weights by ``masked_softmax``; the number of layers.

    A model whose attention has no such layer is not changed. Call it before a function of the model
    is compiled.
    """
    layers = [layer for layer in model.backbone._flatten_layers(include_self=False) if _has_softmax(layer)]
    for layer in layers:
        layer.softmax.call = functools.partial(_softmax, layer.softmax.call)
        if type(layer) is _gemma_attention() and layer.num_query_heads == layer.num_key_value_heads:
            layer._compute_attention = functools.partial(_attention_of_equal_heads, layer, layer._compute_attention)
    return len(layers)


def _has_softmax(layer: keras.layers.Layer) -> bool:
    softmax = getattr(layer, "softmax", None)
    return isinstance(softmax, keras.layers.Softmax) and softmax.axis == -1 and softmax.dtype == "float32"


def _gemma_attention() -> Any:
    from keras_hub.src.models.gemma.gemma_attention import CachedGemmaAttention

    return CachedGemmaAttention


def _softmax(original: Any, inputs: Any, mask: Any = None) -> Any:
    return original(inputs) if mask is None else masked_softmax(inputs, jnp.asarray(mask) > 0)


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
