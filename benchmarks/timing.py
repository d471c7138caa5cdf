"""What the benchmarks of a step time with. Import it when the devices are set."""

import time
from collections.abc import Callable, Iterable
from typing import Any

import jax
import keras
import numpy as np


class Clock(keras.callbacks.Callback):
    """When each step was done."""

    def on_train_begin(self, logs=None):
        """All begins."""
        self.times = []

    def on_train_batch_end(self, batch, logs=None):
        """A step is done."""
        self.times.append(time.perf_counter())


def timed_bare(model: keras.Model, step: Callable, data: Iterable[Any]) -> float:
    """Seconds a step of the step alone, the first left out, over batches that are there already."""
    groups = (model.trainable_variables, model.non_trainable_variables, model.optimizer.variables)
    state = tuple([jax.numpy.copy(variable.value) for variable in variables] for variables in groups)
    times = []
    for batch in data:
        state, loss = step(state, batch)
        float(loss)
        times.append(time.perf_counter())
    return float(np.median(np.diff(times)))
