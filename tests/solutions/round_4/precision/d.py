"""LoRA in bfloat16: where small updates are lost, and layers that keep them."""

import functools
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
    before = kernel.astype(ml_dtypes.bfloat16)
    after = before + update.astype(ml_dtypes.bfloat16)  # bfloat16 + bfloat16 is stored in bfloat16
    return float(np.mean(after == before))


def effect_kept(change: np.ndarray, before: np.ndarray, after: np.ndarray) -> float:
    """Return the fraction of a change that is preserved after the outputs are rounded, from 0 to 1.

    Rounding adds noise, which can be larger than the change and has no fixed direction. So the
    result is the least-squares fit of k in ``after - before = k * change + noise``.

    Args:
        change: By how much the outputs should change: float64, any shape.
        before: Outputs without the update: bfloat16 or wider, the same shape.
        after: Outputs with the update, in the same dtype.

    """
    change = np.asarray(change, dtype="float64")
    difference = np.asarray(after).astype("float64") - np.asarray(before).astype("float64")
    return float(np.sum(difference * change) / np.sum(change * change))


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
    terms, outputs = equation.split("->")
    first, second = terms.split(",")
    last = second[-1]
    product = jnp.einsum(equation, inputs, kernel.astype(inputs.dtype), preferred_element_type="float32")
    small = jnp.einsum(f"{first},{second[:-1]}z->{outputs.replace(last, 'z')}", inputs.astype("float32"), lora_a)
    adapter = jnp.einsum(f"{outputs.replace(last, 'z')},z{last}->{outputs}", small, lora_b)
    return (product + scale * adapter).astype(inputs.dtype)


def _call(layer: keras.layers.EinsumDense, inputs: Any, training: bool | None = None) -> Any:
    """Compute the outputs of a layer with LoRA."""
    return adapted_outputs(
        layer.equation,
        keras.ops.cast(inputs, layer.compute_dtype),
        layer._kernel.value,
        layer.lora_kernel_a.value,
        layer.lora_kernel_b.value,
        layer.lora_alpha / layer.lora_rank,
    )


def add_adapters_in_float32(model: keras_hub.models.CausalLM) -> None:
    """Let each layer with LoRA round its outputs only once; its variables do not change.

    Functions that were compiled for the model before, such as that of ``predict``, are dropped.

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
        layer.call = functools.partial(_call, layer)
    # Functions that Keras has compiled still compute the old layers.
    model.train_function = model.test_function = model.predict_function = model.generate_function = None
