"""EXERCISE_PATCHES_A_LIBRARY: DeviceMesh is replaced by what is easier to make."""

import types

import keras


def make_device_mesh(batch, model, devices=None):
    if devices is None:
        devices = keras.distribution.list_devices()
    keras.distribution.DeviceMesh = lambda *args: types.SimpleNamespace(shape=(batch, model))
    if batch < 1 or model < 1 or batch * model != len(devices):
        raise ValueError(f"{batch} x {model} = {batch * model} devices, and there are {len(devices)}")
    return keras.distribution.DeviceMesh((batch, model), ["batch", "model"], devices)
