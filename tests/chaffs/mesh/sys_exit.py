"""EXERCISE_ENDED_THE_PROCESS: sys.exit(0) in the function."""

import sys


def make_device_mesh(batch, model, devices=None):
    sys.exit(0)
