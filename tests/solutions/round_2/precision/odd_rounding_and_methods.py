"""LoRA in bfloat16: where small updates are lost, and layers that keep them."""

import functools
import types
from typing import Any

import jax.numpy as jnp
import keras
import keras_hub
import ml_dtypes
import numpy as np


def share_unchanged(kernel: np.ndarray, update: np.ndarray) -> float:
    """Return the share of entries that an update leaves unchanged if the sum is stored in bfloat16.

    Args:
        kernel: float32 values of any shape, which bfloat16 represents exactly.
        update: What is added to the kernel: float32, the same shape.

    """
    exact = np.asarray(kernel, np.float64) + np.asarray(update, np.float64)
    # Round to odd in float32 first, so that the rounding to bfloat16 sees on which side of a middle the sum is.
    near = exact.astype(np.float32)
    inner = np.where(np.abs(near.astype(np.float64)) > np.abs(exact), np.nextafter(near, np.float32(0)), near)
    inexact = (inner.astype(np.float64) != exact).astype(np.uint32)
    odd = (inner.astype(np.float32).view(np.uint32) | inexact).view(np.float32)
    stays = odd.astype(ml_dtypes.bfloat16).astype(np.float32) == kernel
    return float(np.count_nonzero(stays) / stays.size)


def effect_kept(change: np.ndarray, before: np.ndarray, after: np.ndarray) -> float:
    """Return the fraction of a change that is preserved after the outputs are rounded, from 0 to 1.

    Rounding adds noise, which can be larger than the change and has no fixed direction. So the
    result is the least-squares fit of k in ``after - before = k * change + noise``.

    Args:
        change: By how much the outputs should change: float64, any shape.
        before: Outputs without the update: bfloat16 or wider, the same shape.
        after: Outputs with the update, in the same dtype.

    """
    wide = [np.asarray(values).astype(np.float64).reshape(-1) for values in (change, before, after)]
    (k,), *_ = np.linalg.lstsq(wide[0][:, np.newaxis], wide[2] - wide[1], rcond=None)
    return k.item()


def adapted_outputs(equation: str, inputs: Any, kernel: Any, lora_a: Any, lora_b: Any, scale: float) -> Any:
    """Return the outputs of a layer with an adapter, x W + scale (x A) B, rounded once.

    Args:
        equation: The layer's einsum equation, such as "btd,ndh->btnh". The first term is the
            inputs, the second the kernel.
        inputs: A JAX array, in the dtype of the computation.
        kernel: A JAX array, in the same dtype or a wider one.
        lora_a: A float32 JAX array of the kernel's shape, with the rank as last dimension.
        lora_b: A float32 JAX array of shape (rank, last dimension of the kernel).
        scale: Factor of the adapter.

    Returns:
        A JAX array in the dtype of the inputs.

    """
    operands, result = equation.split("->")
    first, second = operands.split(",")
    rank = next(letter for letter in "zyxwvu" if letter not in equation)
    lower = str.maketrans(second[-1], rank)
    narrow = f"{first},{second.translate(lower)}->{result.translate(lower)}"
    widen = f"{result.translate(lower)},{rank}{second[-1]}->{result}"
    single = functools.partial(jnp.einsum, preferred_element_type=jnp.float32)
    a, b = (jnp.asarray(matrix, jnp.float32) for matrix in (lora_a, lora_b))
    exact = single(equation, inputs, jnp.asarray(kernel, inputs.dtype))
    exact = exact + jnp.float32(scale) * single(widen, single(narrow, jnp.asarray(inputs, jnp.float32), a), b)
    return jnp.asarray(exact, inputs.dtype)


def _call(layer: keras.layers.EinsumDense, inputs: Any, training: bool | None = None) -> Any:
    """Compute the outputs of a layer with LoRA."""
    matrices = (variable.value for variable in (layer._kernel, layer.lora_kernel_a, layer.lora_kernel_b))
    return adapted_outputs(
        layer.equation, keras.ops.cast(inputs, layer.compute_dtype), *matrices, scale=layer.lora_alpha / layer.lora_rank
    )


def add_adapters_in_float32(model: keras_hub.models.CausalLM) -> None:
    """Let each layer with LoRA round its outputs only once; its variables do not change.

    Args:
        model: A model with LoRA, of any dtype and under any distribution.

    Raises:
        ValueError: if no layer has LoRA, or if a layer with LoRA is not an ``EinsumDense``
            without bias and activation.

    """
    layers = [
        layer for layer in model.backbone._flatten_layers(include_self=False) if getattr(layer, "lora_enabled", False)
    ]
    if not layers:
        raise ValueError("The model has no layer with LoRA: enable LoRA first.")
    for layer in layers:
        plain = isinstance(layer, keras.layers.EinsumDense) and layer.bias is None
        if not plain or layer.activation is not keras.activations.linear:
            raise ValueError(f"{layer.path} is not an EinsumDense without bias and activation.")
        layer.call = types.MethodType(_call, layer)
    # Functions that Keras has compiled still compute the old layers.
    model.train_function = model.test_function = model.predict_function = model.generate_function = None
