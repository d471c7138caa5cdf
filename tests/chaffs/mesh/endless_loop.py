"""EXERCISE_TIMED_OUT: the devices never run out."""

import keras


def make_device_mesh(batch, model, devices=None):
    if devices is None:
        devices = keras.distribution.list_devices()
    while len(devices) != batch * model:
        batch = max(1, batch)
    while True:
        batch += 1
