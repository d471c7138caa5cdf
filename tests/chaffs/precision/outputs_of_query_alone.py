"""EXERCISE_CRASHED: the equation of the query, whatever the layer's is."""

import jax.numpy as jnp

from kit.reference.precision import add_adapters_in_float32, effect_kept, share_unchanged  # noqa: F401


def adapted_outputs(equation, inputs, kernel, lora_a, lora_b, scale):
    outputs = jnp.einsum(equation, inputs, kernel.astype(inputs.dtype), preferred_element_type="float32")
    adapter = jnp.einsum("btd,ndr,rh->btnh", inputs.astype("float32"), lora_a, lora_b)
    return (outputs + scale * adapter).astype(inputs.dtype)
