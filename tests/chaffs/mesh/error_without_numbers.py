"""MESH_ERROR_WITHOUT_NUMBERS: which numbers were wrong?"""

import keras


def make_device_mesh(batch, model, devices=None):
    if devices is None:
        devices = keras.distribution.list_devices()
    if batch < 1 or model < 1 or batch * model != len(devices):
        raise ValueError("the mesh does not fit the devices")
    return keras.distribution.DeviceMesh((batch, model), ["batch", "model"], devices)
