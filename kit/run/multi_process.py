"""A model that several processes hold together, where one of them needs it whole: to write what it says, or to save it."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np

from kit.runtime.processes import Processes, wait_for_all


def own_rows(device_mesh: Any, batch_size: int) -> list[int]:
    """The rows of a batch that this process feeds: those of its own devices. All of them where the batch is not split.

    Args:
        device_mesh: Keras' mesh, with an axis "batch".
        batch_size: Rows of the whole batch.

    """
    sharding = jax.sharding.NamedSharding(device_mesh.backend_mesh, jax.sharding.PartitionSpec("batch"))
    slices = [index[0] for index in sharding.addressable_devices_indices_map((batch_size,)).values() if index]
    return sorted({row for rows in slices for row in range(*rows.indices(batch_size))})


def own_share(batches: Sequence[list[str]], device_mesh: Any) -> list[list[str]]:
    """Of each batch the texts that this process feeds."""
    return [[batch[row] for row in own_rows(device_mesh, len(batch))] for batch in batches]


@contextlib.contextmanager
def whole_values(variables: Iterable[Any], processes: Processes) -> Iterator[None]:
    """Within this, each variable has its whole value on the main process. All processes must come here; nothing is changed for one."""
    if not processes.is_distributed:
        yield
        return
    variables = [variable for variable in variables if not variable._value.is_fully_addressable]
    shared = [variable._value for variable in variables]
    for variable in variables:
        # One after the other: each device holds one of them whole for a moment.
        whole = _whole(variable._value)
        if processes.is_main:
            variable._value = jax.device_put(whole, jax.local_devices(backend="cpu")[0])
    try:
        yield
    finally:
        for variable, value in zip(variables, shared, strict=True):
            variable._value = value


@contextlib.contextmanager
def main_alone(what: str, model: Any, layout: Callable[[Any], Any], processes: Processes) -> Iterator[bool]:
    """Within this, the main process has the model on its own devices alone, and is told True; the others wait at its end.

    Args:
        what: A name for it, which is used once in a run.
        model: Held by all processes, which must all come here.
        layout: Gives the layout map for a mesh: the part ``gemma_layout_map``.
        processes: For one, nothing is changed.

    """
    if not processes.is_distributed:
        yield True
        return
    variables = list(model.variables)
    shared = [(variable._value, variable._layout) for variable in variables]
    distribution = keras.distribution.distribution()
    functions = model.train_function, model.test_function, model.predict_function, model.generate_function
    own = None
    if processes.is_main:
        # On the CPU all is one memory, and one device is the quickest.
        devices = jax.local_devices()[:1] if jax.default_backend() == "cpu" else jax.local_devices()
        names = [f"{device.platform}:{device.id}" for device in devices]
        mesh = keras.distribution.DeviceMesh((1, len(names)), ["batch", "model"], names)
        own = keras.distribution.ModelParallel(
            layout_map=layout(mesh), batch_dim_name="batch", auto_shard_dataset=False
        )
    for variable in variables:
        whole = _whole(variable._value)
        if own:
            # Keras asks the rules for a variable that has no layout yet.
            variable._layout = None
            variable._layout = own.get_variable_layout(variable)
            variable._value = jax.device_put(whole, variable._layout.backend_layout)
    if own:
        keras.distribution.set_distribution(own)
    # What was compiled is for the devices of all.
    model.train_function = model.test_function = model.predict_function = model.generate_function = None
    try:
        yield processes.is_main
        # A process that ran ahead would send to devices that are at something else.
        wait_for_all(what)
    finally:
        keras.distribution.set_distribution(distribution)
        for variable, (value, place) in zip(variables, shared, strict=True):
            variable._value, variable._layout = value, place
        model.train_function, model.test_function, model.predict_function, model.generate_function = functions


def _whole(value: jax.Array) -> np.ndarray:
    """The whole of an array that no process holds alone. All processes must come here."""
    if value.is_fully_addressable or value.is_fully_replicated:
        return np.asarray(value)
    mesh: Any = value.sharding
    replicated = jax.sharding.NamedSharding(mesh.mesh, jax.sharding.PartitionSpec())
    gathered = jax.jit(jnp.copy, out_shardings=replicated)(value)
    # All devices must be done: with the next gather under way on one of them, gloo would mix the two up.
    return np.asarray(jax.block_until_ready(gathered))
