"""PRECISION_UPDATE_LOST: the adapter is applied to activations, and added to outputs in bfloat16."""

import jax.numpy as jnp

from kit.reference.precision import add_adapters_in_float32, effect_kept, share_unchanged  # noqa: F401


def adapted_outputs(equation, inputs, kernel, lora_a, lora_b, scale):
    source, axes, target = equation.replace("->", ",").split(",")
    outputs = jnp.einsum(equation, inputs, kernel.astype(inputs.dtype))
    lora_a, lora_b = lora_a.astype(inputs.dtype), lora_b.astype(inputs.dtype)
    return outputs + scale * jnp.einsum(f"{source},{axes[:-1]}z,z{axes[-1]}->{target}", inputs, lora_a, lora_b)
