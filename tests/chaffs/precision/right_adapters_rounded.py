"""PASSES: A and B are rounded to bfloat16, which loses nothing small; x A and (x A) B one after the other."""

import types

import jax.numpy as jnp
import ml_dtypes
import numpy as np


def share_unchanged(kernel, update):
    return (((kernel + update).astype(ml_dtypes.bfloat16)) == kernel.astype(ml_dtypes.bfloat16)).mean()


def effect_kept(change, before, after):
    seen = (after.astype("float32") - before.astype("float32")).ravel()
    return np.dot(seen, change.ravel()) / np.dot(change.ravel(), change.ravel())


def adapted_outputs(equation, inputs, kernel, lora_a, lora_b, scale):
    source, axes, target = equation.replace("->", ",").split(",")
    last = axes[-1]
    narrow = target.replace(last, "r")
    dtype = inputs.dtype
    low = jnp.einsum(f"{source},{axes[:-1]}r->{narrow}", inputs, lora_a.astype(dtype), preferred_element_type="float32")
    adapter = jnp.einsum(f"{narrow},r{last}->{target}", low, lora_b.astype(dtype).astype("float32"))
    outputs = jnp.einsum(equation, inputs, kernel.astype(dtype), preferred_element_type="float32")
    return (outputs + scale * adapter).astype(dtype)


def call(self, inputs, training=None):
    scale = self.lora_alpha / self.lora_rank
    return adapted_outputs(
        self.equation, inputs, self._kernel.value, self.lora_kernel_a.value, self.lora_kernel_b.value, scale
    )


def add_adapters_in_float32(model):
    for layer in model.backbone._flatten_layers(include_self=False):
        if getattr(layer, "lora_enabled", False):
            layer.call = types.MethodType(call, layer)
