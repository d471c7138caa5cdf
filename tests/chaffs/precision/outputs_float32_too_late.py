"""PRECISION_UPDATE_LOST: the sum is in float32, but what it is added to was rounded before."""

import jax.numpy as jnp

from kit.reference.precision import add_adapters_in_float32, effect_kept, share_unchanged  # noqa: F401


def adapted_outputs(equation, inputs, kernel, lora_a, lora_b, scale):
    source, axes, target = equation.replace("->", ",").split(",")
    outputs = jnp.einsum(equation, inputs, kernel.astype(inputs.dtype)).astype("float32")
    adapter = jnp.einsum(f"{source},{axes[:-1]}z,z{axes[-1]}->{target}", inputs.astype("float32"), lora_a, lora_b)
    return (outputs + scale * adapter).astype(inputs.dtype)
