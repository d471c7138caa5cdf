"""EXERCISE_ENDED_THE_PROCESS: sys.exit(0) when it is imported."""

import sys

sys.exit(0)


def make_device_mesh(batch, model, devices=None):
    return None
