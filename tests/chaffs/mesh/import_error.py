"""EXERCISE_DOES_NOT_IMPORT: a module that there is not."""

import kerass


def make_device_mesh(batch, model, devices=None):
    return kerass.DeviceMesh((batch, model))
