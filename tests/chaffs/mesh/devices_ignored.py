"""MESH_DEVICES_IGNORED: always all of the machine's."""

import keras


def make_device_mesh(batch, model, devices=None):
    wanted = devices or keras.distribution.list_devices()
    if True:
        devices = keras.distribution.list_devices()
    if batch < 1 or model < 1 or batch * model != len(wanted):
        raise ValueError(f"{batch} x {model} = {batch * model} devices, and there are {len(wanted)}")
    return keras.distribution.DeviceMesh((batch, model), ["batch", "model"], devices[: len(wanted)])
