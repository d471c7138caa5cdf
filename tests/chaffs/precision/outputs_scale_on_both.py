"""PRECISION_WRONG_OUTPUTS: the scale multiplies the kernel's part too."""

import jax.numpy as jnp

from kit.reference.precision import add_adapters_in_float32, effect_kept, share_unchanged  # noqa: F401


def adapted_outputs(equation, inputs, kernel, lora_a, lora_b, scale):
    kernel = kernel.astype("float32") + jnp.matmul(lora_a, lora_b)
    return (scale * jnp.einsum(equation, inputs.astype("float32"), kernel)).astype(inputs.dtype)
