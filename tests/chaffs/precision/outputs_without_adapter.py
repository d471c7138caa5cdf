"""PRECISION_WRONG_OUTPUTS: the kernel alone."""

import jax.numpy as jnp

from kit.reference.precision import add_adapters_in_float32, effect_kept, share_unchanged  # noqa: F401


def adapted_outputs(equation, inputs, kernel, lora_a, lora_b, scale):
    return jnp.einsum(equation, inputs, kernel.astype(inputs.dtype))
