"""WRONG_RETURN_TYPE: a mesh of JAX and not of Keras."""

import jax
import numpy as np
import keras


def make_device_mesh(batch, model, devices=None):
    if devices is None:
        devices = keras.distribution.list_devices()
    if batch < 1 or model < 1 or batch * model != len(devices):
        raise ValueError(f"{batch} x {model} = {batch * model} devices, and there are {len(devices)}")
    return jax.sharding.Mesh(np.array(jax.devices()[: len(devices)]).reshape(batch, model), ("batch", "model"))
