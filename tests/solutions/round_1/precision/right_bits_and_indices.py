"""LoRA in bfloat16: where small updates are lost, and layers that keep them."""

import types
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
    # Round as bfloat16 does: add half of the lower 16 bits, a little less if the kept part is even.
    bits = np.asarray(kernel + update, dtype=np.float32).view(np.uint32)
    half = np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    rounded = ((bits + half) & np.uint32(0xFFFF0000)).view(np.float32)
    return np.count_nonzero(rounded == kernel) / kernel.size


def effect_kept(change: np.ndarray, before: np.ndarray, after: np.ndarray) -> float:
    """Return the fraction of a change that is preserved after the outputs are rounded, from 0 to 1.

    Rounding adds noise, which can be larger than the change and has no fixed direction. So the
    result is the least-squares fit of k in ``after - before = k * change + noise``.

    Args:
        change: By how much the outputs should change: float64, any shape.
        before: Outputs without the update: bfloat16 or wider, the same shape.
        after: Outputs with the update, in the same dtype.

    """
    column = np.reshape(change, (-1, 1)).astype(np.float64)
    difference = np.subtract(after, before, dtype=np.float64).ravel()
    solution, *_ = np.linalg.lstsq(column, difference, rcond=None)
    return solution.item()


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
    numbers = {letter: number for number, letter in enumerate(sorted(set(equation) - set(",->")))}
    rank = len(numbers)
    terms, output_term = equation.split("->")
    of_inputs, of_kernel, of_outputs = (
        tuple(numbers[letter] for letter in term) for term in (*terms.split(","), output_term)
    )
    *front, last = of_kernel
    of_inner = tuple(rank if axis == last else axis for axis in of_outputs)
    wide = functools.partial(jnp.einsum, preferred_element_type=jnp.float32)
    total = wide(inputs, of_inputs, kernel.astype(inputs.dtype), of_kernel, of_outputs)
    a, b = lora_a.astype(jnp.float32), lora_b.astype(jnp.float32)
    inner = wide(inputs.astype(jnp.float32), of_inputs, a, (*front, rank), of_inner)
    total += scale * wide(inner, of_inner, b, (rank, last), of_outputs)
    return total.astype(inputs.dtype)


def _call(layer: keras.layers.EinsumDense, inputs: Any, training: bool | None = None) -> Any:
    """Compute the outputs of a layer with LoRA."""
    own = (layer._kernel, layer.lora_kernel_a, layer.lora_kernel_b)
    kernel, a, b = (variable.value for variable in own)
    x = jnp.asarray(inputs, dtype=layer.compute_dtype)
    return adapted_outputs(layer.equation, x, kernel, a, b, scale=layer.lora_alpha / layer.lora_rank)


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
