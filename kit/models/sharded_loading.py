"""Loading a model slice by slice, with little more memory than its weights take."""

import contextlib
import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
from keras.src.backend.common.stateless_scope import in_stateless_scope
from keras.src.backend.jax.core import JaxVariable


@dataclass
class LoadingReport:
    """Memory of the devices while a model was loaded."""

    #: Device -> peak bytes.
    peak_nbytes: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def record(self) -> None:
        """Record the bytes that each device holds now."""
        now: dict[str, int] = defaultdict(int)
        for array in jax.live_arrays():
            # `shard.data` would create another array, which would be counted next time.
            nbytes = math.prod(array.sharding.shard_shape(array.shape)) * array.dtype.itemsize
            for device in array.sharding.addressable_devices:
                now[f"{device.platform}:{device.id}"] += nbytes
        for device, nbytes in now.items():
            self.peak_nbytes[device] = max(self.peak_nbytes[device], nbytes)

    def finish(self) -> None:
        """Read the peaks that accelerators count themselves; simulated devices do not."""
        for device in jax.local_devices():
            stats = device.memory_stats() or {}
            if "peak_bytes_in_use" in stats:
                self.peak_nbytes[f"{device.platform}:{device.id}"] = stats["peak_bytes_in_use"]


@contextlib.contextmanager
def load_slice_by_slice(progress: Callable[[int, int], None] = lambda done, total: None) -> Iterator[LoadingReport]:
    """Make Keras and KerasHub load each variable slice by slice, to the devices of its layout.

    Plain Keras creates random initial values, and puts each tensor on the first device before it
    shards it. That device needs memory for the largest tensor in addition to its share: 3.1 GB for
    the embeddings of Gemma 7B in float32. In this context a variable has no value until one is
    assigned; each device then reads its own slice from the file. Variables without a value are
    initialized at the end. ``progress`` is called with the number of variables that
    have a value, and with that of all, whenever one is assigned.
    """
    report = LoadingReport()
    waiting: list[Any] = []
    loaded: set[int] = set()
    initialize, assign = JaxVariable._initialize_with_initializer, JaxVariable.assign

    def wait(variable: Any, initializer: Any) -> None:
        variable._initialize_layout()
        if variable._layout is None:
            initialize(variable, initializer)
            return
        variable._value, variable._initializer = None, initializer
        waiting.append(variable)

    def assign_slices(variable: Any, value: Any) -> Any:
        if variable._layout is None or in_stateless_scope() or isinstance(value, (jax.Array, keras.Variable)):
            found = assign(variable, value)
        else:
            found = variable._value = _put(value, variable)
            loaded.add(id(variable))
            progress(len(loaded), len(waiting))
        report.record()
        return found

    JaxVariable._initialize_with_initializer, JaxVariable.assign = wait, assign_slices
    try:
        yield report
    finally:
        JaxVariable._initialize_with_initializer, JaxVariable.assign = initialize, assign
    for variable in waiting:
        if variable._value is None:
            initialize(variable, variable._initializer)
        variable._initializer = None
    report.record()
    report.finish()


def _put(value: Any, variable: Any) -> jax.Array:
    """The sharded value of an array, or of a data set in a file, of which slices are read."""
    if not hasattr(value, "shape"):
        value = np.asarray(value)
    shape = tuple(variable.shape)
    if tuple(value.shape) != shape:
        # Keras' own message, for a preset whose weights do not fit.
        raise ValueError(
            "The shape of the target variable and the shape of the target value in `variable.assign(value)` must "
            f"match. variable.shape={shape}, Received: value.shape={tuple(value.shape)}. Target variable: "
            f"{variable.path}"
        )
    sharding = getattr(variable._layout, "backend_layout", variable._layout)
    dtype = jnp.dtype(variable._dtype)
    return jax.make_array_from_callback(shape, sharding, lambda index: np.asarray(value[index], dtype=dtype))
