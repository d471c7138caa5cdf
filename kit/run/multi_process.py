"""A model that several processes train, gathered on process 0 to generate text or to be saved."""

import contextlib
import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import keras
import keras_hub
import numpy as np

from kit.models.known_layouts import LayoutMapFor
from kit.runtime.processes import Processes, wait_for_all


def local_rows(device_mesh: keras.distribution.DeviceMesh, batch_size: int) -> list[int]:
    """The rows of a batch that this process feeds; all rows if the batch is not split."""
    sharding = jax.sharding.NamedSharding(device_mesh.backend_mesh, jax.sharding.PartitionSpec("batch"))
    slices = [index[0] for index in sharding.addressable_devices_indices_map((batch_size,)).values() if index]
    return sorted({row for rows in slices for row in range(*rows.indices(batch_size))})


def local_batches(batches: Sequence[list[str]], device_mesh: keras.distribution.DeviceMesh) -> list[list[str]]:
    """The texts of each batch that this process feeds."""
    return [[batch[row] for row in local_rows(device_mesh, len(batch))] for batch in batches]


@contextlib.contextmanager
def gathered_values(variables: Iterable[keras.Variable], processes: Processes) -> Iterator[None]:
    """Within this context, which all processes enter, process 0 has each variable's whole value."""
    if not processes.is_distributed:
        yield
        return
    variables = [variable for variable in variables if not variable._value.is_fully_addressable]
    sharded = [variable._value for variable in variables]
    for variable in variables:
        # One variable at a time: each device briefly holds all of it.
        whole = _gather(variable._value)
        if processes.is_main:
            variable._value = jax.device_put(whole, jax.local_devices(backend="cpu")[0])
    try:
        yield
    finally:
        for variable, value in zip(variables, sharded, strict=True):
            variable._value = value


@contextlib.contextmanager
def on_main_process(
    name: str, model: keras_hub.models.CausalLM, make_layout_map: LayoutMapFor, processes: Processes
) -> Iterator[bool]:
    """Within this context, process 0 has the whole model on its own devices.

    It gets True; the others get False and wait for it at the end. All processes must enter the
    context, with a name that is used once per run. With one process it changes nothing.
    ``make_layout_map`` makes the layout map of the mesh of process 0.
    """
    if not processes.is_distributed:
        yield True
        return
    variables = list(model.variables)
    sharded = [(variable._value, variable._layout) for variable in variables]
    distribution = keras.distribution.distribution()
    functions = model.train_function, model.test_function, model.predict_function, model.generate_function
    # What process 0 alone does, such as choosing its layout, may draw from Python's generator, from
    # which Keras takes its seeds. LoRA's A must be the same in all processes.
    random_state = random.getstate()
    own = _local_distribution(make_layout_map) if processes.is_main else None
    for variable in variables:
        whole = _gather(variable._value)
        if own:
            # Keras applies the rules to a variable that has no layout yet.
            variable._layout = None
            variable._layout = own.get_variable_layout(variable)
            variable._value = jax.device_put(whole, variable._layout.backend_layout)
    if own:
        keras.distribution.set_distribution(own)
    # The compiled functions are for the devices of all processes.
    model.train_function = model.test_function = model.predict_function = model.generate_function = None
    try:
        yield processes.is_main
        # Otherwise a process could start its next collective while process 0 still runs another
        # program.
        wait_for_all(name)
    finally:
        random.setstate(random_state)
        keras.distribution.set_distribution(distribution)
        for variable, (value, layout) in zip(variables, sharded, strict=True):
            variable._value, variable._layout = value, layout
        model.train_function, model.test_function, model.predict_function, model.generate_function = functions


def _local_distribution(make_layout_map: LayoutMapFor) -> keras.distribution.ModelParallel:
    """Tensor parallelism over the devices of this process."""
    # Simulated devices share one processor, so one device is fastest.
    devices = jax.local_devices()[:1] if jax.default_backend() == "cpu" else jax.local_devices()
    names = [f"{device.platform}:{device.id}" for device in devices]
    mesh = keras.distribution.DeviceMesh((1, len(names)), ["batch", "model"], names)
    return keras.distribution.ModelParallel(
        layout_map=make_layout_map(mesh), batch_dim_name="batch", auto_shard_dataset=False
    )


def _gather(value: jax.Array) -> np.ndarray:
    """The whole value of an array that is sharded over processes, all of which must call this."""
    if value.is_fully_addressable or value.is_fully_replicated:
        return np.asarray(value)
    mesh: Any = value.sharding
    replicated = jax.sharding.NamedSharding(mesh.mesh, jax.sharding.PartitionSpec())
    gathered = jax.jit(jnp.copy, out_shardings=replicated)(value)
    # All devices must be done: gloo would mix this up with the next gather.
    return np.asarray(jax.block_until_ready(gathered))
