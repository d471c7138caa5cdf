"""PASSES: by distances and bits; the whole product in float32, in a class of its own."""

import jax.numpy as jnp
import keras
import numpy as np


def share_unchanged(kernel, update):
    bits = (kernel + update).astype("float32").view("uint32")
    # To nearest, ties to even: what is added carries into the upper half, or does not.
    upper = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.mean(upper == kernel.view("uint32") >> 16)


def effect_kept(change, before, after):
    seen = after.astype("float64") - before.astype("float64")
    (k,), *_ = np.linalg.lstsq(change.reshape(-1, 1), seen.ravel(), rcond=None)
    return k


def adapted_outputs(equation, inputs, kernel, lora_a, lora_b, scale):
    kernel = kernel.astype("float32") + scale * jnp.matmul(lora_a, lora_b)
    return jnp.einsum(equation, inputs.astype("float32"), kernel).astype(inputs.dtype)


class RoundedOnce(keras.layers.EinsumDense):
    def call(self, inputs, training=None):
        lora_a, lora_b = self.lora_kernel_a.value, self.lora_kernel_b.value
        return adapted_outputs(
            self.equation, inputs, self._kernel.value, lora_a, lora_b, self.lora_alpha / self.lora_rank
        )


def add_adapters_in_float32(model):
    for layer in model.backbone._flatten_layers(include_self=False):
        if getattr(layer, "lora_enabled", False):
            layer.__class__ = RoundedOnce
