"""PRECISION_UPDATE_LOST: Keras' own form: the product of A and B is added to the kernel, and the sum is rounded."""

import jax.numpy as jnp

from kit.reference.precision import add_adapters_in_float32, effect_kept, share_unchanged  # noqa: F401


def adapted_outputs(equation, inputs, kernel, lora_a, lora_b, scale):
    kernel = kernel + scale * jnp.matmul(lora_a, lora_b)
    return jnp.einsum(equation, inputs, kernel.astype(inputs.dtype))
