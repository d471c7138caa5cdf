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
    # Task 1: Return the share of entries whose sum with the update is rounded back to the entry.
    # A sum in the middle between two bfloat16 values is rounded to the one with the even
    # significand. Add in float32 and convert: the tests have no sum for which rounding to float32
    # first makes a difference.
    total = (kernel + update).astype(ml_dtypes.bfloat16).astype("float32")
    updated = update != 0
    return float(np.mean(total[updated] == kernel[updated]))


def effect_kept(change: np.ndarray, before: np.ndarray, after: np.ndarray) -> float:
    """Return the fraction of a change that is preserved after the outputs are rounded.

    Usually it is between 0 and 1, and nothing is clipped: an effect in the other direction is below
    0. Rounding adds noise, which can be larger than the change and has no fixed direction. So the
    result is the least-squares fit of k in ``after - before = k * change + noise``.

    Args:
        change: By how much the outputs should change: float64, any shape.
        before: Outputs without the update: bfloat16 or wider, the same shape.
        after: Outputs with the update, in the same dtype.

    """
    # Task 2: Return k as a plain float. Subtract in float64.
    difference = np.asarray(after).astype("float64") - np.asarray(before).astype("float64")
    return float(np.sum(difference * change) / np.sum(change * change))


def adapted_outputs(equation: str, inputs: Any, kernel: Any, lora_a: Any, lora_b: Any, scale: float) -> Any:
    """Return the outputs of a layer with an adapter, x W + scale (x A) B, rounded once.

    Args:
        equation: The layer's einsum equation, such as "btd,ndh->btnh". The first term is the
            inputs, the second the kernel.
        inputs: A JAX array, in the dtype of the computation.
        kernel: A JAX array, in the same dtype or a wider one.
        lora_a: A JAX array of the kernel's shape, with the rank as last dimension: float32, or as
            Keras casts it within a call.
        lora_b: A JAX array of shape (rank, last dimension of the kernel), in the dtype of lora_a.
        scale: Factor of the adapter.

    Returns:
        A JAX array in the dtype of the inputs.

    """
    # Task 3: Multiply inputs and kernel in the dtype of the inputs, but keep the sums in float32:
    # see `preferred_element_type` of `jnp.einsum`. Add the adapter in float32, then round.
    terms, outputs = equation.split("->")
    input_letters, kernel_letters = terms.split(",")
    last = kernel_letters[-1]
    inner = outputs.replace(last, "r")
    product = jnp.einsum(equation, inputs, kernel.astype(inputs.dtype), preferred_element_type="float32")
    lora_a, lora_b = lora_a.astype("float32"), lora_b.astype("float32")
    down = jnp.einsum(f"{input_letters},{kernel_letters[:-1]}r->{inner}", inputs.astype("float32"), lora_a)
    adapter = jnp.einsum(f"{inner},r{last}->{outputs}", down, lora_b)
    return (product + scale * adapter).astype(inputs.dtype)


def _call(layer: keras.layers.EinsumDense, inputs: Any, training: bool | None = None) -> Any:
    """Compute the outputs of a layer with LoRA."""
    # Task 4: Return `adapted_outputs` of the inputs, cast to `layer.compute_dtype`, and of the
    # layer's own variables. `layer.kernel` already includes the adapter; `layer._kernel` does not.
    # Keras scales by lora_alpha / lora_rank.
    inputs = jnp.asarray(inputs).astype(layer.compute_dtype)
    return adapted_outputs(
        layer.equation,
        inputs,
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
        # Task 5: Replace `layer.call` by `_call` for this layer. It takes the inputs and optionally
        # `training`.
        layer.call = functools.partial(_call, layer)
    # Functions that Keras has compiled still compute the old layers.
    model.train_function = model.test_function = model.predict_function = model.generate_function = None
