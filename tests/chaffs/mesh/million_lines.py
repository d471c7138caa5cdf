"""EXERCISE_PRINTS_TOO_MUCH: a million lines, and then the right answer."""

import keras


def make_device_mesh(batch, model, devices=None):
    if devices is None:
        devices = keras.distribution.list_devices()
    for number in range(1_000_000):
        print("device", number)
    if batch < 1 or model < 1 or batch * model != len(devices):
        raise ValueError(f"{batch} x {model} = {batch * model} devices, and there are {len(devices)}")
    return keras.distribution.DeviceMesh((batch, model), ["batch", "model"], devices)
