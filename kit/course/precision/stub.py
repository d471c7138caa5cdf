"""LoRA in bfloat16: which small updates are lost, where, and layers that lose none."""

import functools
from typing import Any

import jax.numpy as jnp
import keras
import keras_hub
import ml_dtypes
import numpy as np


def share_unchanged(kernel: np.ndarray, update: np.ndarray) -> float:
    """The share of a kernel's entries that are as before after an update was added and the sum kept in bfloat16.

    Args:
        kernel: Any shape, float32, values that bfloat16 holds exactly.
        update: What is added, the same shape, float32.

    """
    # Task 1: Return the share of the entries whose sum with the update is rounded back to the entry. A sum in the middle between two
    # values of bfloat16 is rounded to that with the even significand.
    raise NotImplementedError("precision, task 1")


def effect_kept(change: np.ndarray, before: np.ndarray, after: np.ndarray) -> float:
    """How much of a change arrives at outputs that are rounded: 1 for all of it, 0 for nothing.

    Rounding puts noise beside the change, which may be larger than the change, and points anywhere. So this is the k that fits
    best, by least squares, in ``after - before = k * change + noise``.

    Args:
        change: What the outputs should change by, any shape, float64.
        before: Outputs without the update, the same shape, bfloat16 or wider.
        after: Outputs with it, in the same dtype.

    """
    # Task 2: Return k, a plain float. Subtract in float64.
    raise NotImplementedError("precision, task 2")


def adapted_outputs(equation: str, inputs: Any, kernel: Any, lora_a: Any, lora_b: Any, scale: float) -> Any:
    """The outputs of a layer with an adapter, rounded once: x W + scale (x A) B.

    Args:
        equation: Of the layer, such as "btd,ndh->btnh", as einsum takes it; inputs are its first term, the kernel its second.
        inputs: A JAX array, in the dtype that is computed in.
        kernel: A JAX array, in that dtype or a wider one.
        lora_a: A JAX array, float32: the kernel's shape, with the rank for its last dimension.
        lora_b: A JAX array, float32, of shape (rank, the kernel's last dimension).
        scale: What the adapter is multiplied by.

    Returns:
        A JAX array in the dtype of the inputs.

    """
    # Task 3: Multiply inputs and kernel in the dtype of the inputs, but take the sums in float32, before they are rounded: `jnp.einsum`
    # has `preferred_element_type` for that. Add the adapter in float32, then round.
    raise NotImplementedError("precision, task 3")


def _call(layer: keras.layers.EinsumDense, inputs: Any, training: bool | None = None) -> Any:
    """What a layer with LoRA computes."""
    # Task 4: Return `adapted_outputs` of the inputs, cast to `layer.compute_dtype`, and of the layer's own variables. `layer.kernel`
    # has the adapter in it already, and `layer._kernel` has not. Keras scales by lora_alpha / lora_rank.
    raise NotImplementedError("precision, task 4")


def add_adapters_in_float32(model: keras_hub.models.CausalLM) -> None:
    """Let each layer with LoRA compute its outputs so that they are rounded once. Its variables stay as they are.

    Args:
        model: With LoRA enabled; whatever its dtype and its distribution.

    Raises:
        ValueError: if no layer has LoRA, or if one that has is no ``EinsumDense`` without bias and activation.

    """
    layers = [
        layer for layer in model.backbone._flatten_layers(include_self=False) if getattr(layer, "lora_enabled", False)
    ]
    if not layers:
        raise ValueError("The model has no layer with LoRA: enable it first.")
    for layer in layers:
        plain = isinstance(layer, keras.layers.EinsumDense) and layer.bias is None
        if not plain or layer.activation is not keras.activations.linear:
            raise ValueError(f"{layer.path} is no EinsumDense without bias and activation.")
        # Task 5: Replace `layer.call`, which takes the inputs and perhaps `training`, by `_call` for this layer.
        raise NotImplementedError("precision, task 5")
    # What Keras has compiled computes the layers as they were.
    model.train_function = model.test_function = model.predict_function = model.generate_function = None
