"""PASSES: asks JAX for the devices, within the function."""

import math

import jax
from keras.distribution import DeviceMesh

AXES = ["batch", "model"]


def make_device_mesh(batch, model, devices=None, axes=AXES):
    shape = (batch, model)
    found = devices or [f"{device.platform}:{device.id}" for device in jax.devices()]
    wanted = math.prod(shape) if all(size > 0 for size in shape) else -1
    if wanted != len(found):
        raise ValueError(f"wanted: {batch * model} devices; found: {len(found)}")
    return DeviceMesh(shape=shape, axis_names=axes, devices=found)
