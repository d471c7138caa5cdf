"""PASSES: JAX's own gathering; rows by where the process stands in the mesh; process 1 keeps nothing of what it gathers."""

import os

import numpy as np
from jax.experimental import multihost_utils


def process_settings(environment):
    found = []
    for name in ("JOB_ADDRESSES", "NUM_PROCESSES", "PROCESS_ID"):
        text = environment.get(f"KERAS_DISTRIBUTION_{name}", "")
        if not text or (found and not text.isdecimal()):
            raise ValueError(f"KERAS_DISTRIBUTION_{name} is {text!r}")
        found.append(int(text) if found else text)
    if found[2] >= found[1]:
        raise ValueError(f"KERAS_DISTRIBUTION_PROCESS_ID is {found[2]} of {found[1]}")
    return tuple(found)


def own_rows(process_of_device, batch_size, process):
    parts = np.shape(process_of_device)[0]
    if batch_size % parts != 0:
        raise ValueError(f"{parts} does not divide {batch_size}")
    mine = np.unique(np.nonzero(np.asarray(process_of_device) == process)[0])
    return np.arange(batch_size).reshape(parts, -1)[mine].ravel()


def rows_of_whole_batch(process_of_device, rows_fed, process):
    return rows_fed / np.mean(np.any(process_of_device == process, axis=1))


def whole_value(value):
    if value.is_fully_addressable:
        return np.asarray(value)
    return np.asarray(multihost_utils.process_allgather(value, tiled=True))


def save_once(values, path, process, gather=whole_value):
    kept = {}
    for name in sorted(values, reverse=True):
        array = gather(values[name])
        if process == 0:
            kept[name] = array
    if process == 0:
        # Whole or not there.
        unfinished = path.with_name("unfinished.npz")
        np.savez(unfinished, **kept)
        os.replace(unfinished, path)
