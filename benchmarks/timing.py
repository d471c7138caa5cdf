"""Timing of steps, for other benchmarks. Import it after the devices are set."""

import time
from collections.abc import Callable, Iterable
from typing import Any

import jax
import keras
import numpy as np


class Clock(keras.callbacks.Callback):
    """Records when each step ended."""

    def on_train_begin(self, logs=None):
        """Start a new list."""
        self.times = []

    def on_train_batch_end(self, batch, logs=None):
        """Record the end of a step."""
        self.times.append(time.perf_counter())


def timed_bare(model: keras.Model, step: Callable, data: Iterable[Any]) -> float:
    """Seconds per bare step, without the first, over batches that are already preprocessed."""
    groups = (model.trainable_variables, model.non_trainable_variables, model.optimizer.variables)
    state = tuple([jax.numpy.copy(variable.value) for variable in variables] for variables in groups)
    times = []
    for batch in data:
        state, loss = step(state, batch)
        float(loss)
        times.append(time.perf_counter())
    return float(np.median(np.diff(times)))
