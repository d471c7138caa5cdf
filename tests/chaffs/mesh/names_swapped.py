"""MESH_WRONG_AXIS_NAMES: the names are the other way round, which on (1, 8) splits nothing."""

import keras


def make_device_mesh(batch, model, devices=None):
    if devices is None:
        devices = keras.distribution.list_devices()
    if batch < 1 or model < 1 or batch * model != len(devices):
        raise ValueError(f"{batch} x {model} = {batch * model} devices, and there are {len(devices)}")
    return keras.distribution.DeviceMesh((batch, model), ["model", "batch"], devices)
