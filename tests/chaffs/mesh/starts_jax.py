"""EXERCISE_STARTS_JAX: jax.devices() at the top, before a program can choose its platform."""

import jax
import keras

DEVICES = [f"cpu:{device.id}" for device in jax.devices()]


def make_device_mesh(batch, model, devices=None):
    devices = devices or DEVICES
    if batch < 1 or model < 1 or batch * model != len(devices):
        raise ValueError(f"{batch} x {model} = {batch * model} devices, and there are {len(devices)}")
    return keras.distribution.DeviceMesh((batch, model), ["batch", "model"], devices)
