"""The training step of a compiled Keras model, run or lowered without a change to the model."""

import contextlib
import gc
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import keras
import numpy as np
from keras.src.distribution.distribution_lib import Distribution
from keras.src.trainers.compile_utils import CompileLoss, CompileMetrics

from kit.models.weightless import fresh_names, no_weights

#: (x, y, sample weights); the last two may be None.
Data = tuple[Any, Any, Any]


def prepare_data(model: keras.Model, batch: Any) -> Data:
    """The arrays of a batch, as ``train_on_batch`` makes them of it.

    ``batch`` is x alone, such as a list of texts, or a tuple (x, y) or (x, y, sample_weight). A
    KerasHub task preprocesses it.
    """
    x, y, sample_weight = (*(batch if isinstance(batch, tuple) else (batch,)), None, None)[:3]
    if hasattr(model, "preprocess_samples"):
        prepared = model.preprocess_samples(x, y, sample_weight)
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(prepared)
    return _arrays(x), _arrays(y), _arrays(sample_weight)


def _arrays(value: Any) -> Any:
    if value is None:
        return None
    # A list of numbers is one array; a list of arrays is a structure.
    if isinstance(value, list) and not any(hasattr(one, "shape") for one in keras.tree.flatten(value)):
        return np.asarray(value)
    return keras.tree.map_structure(lambda one: one if hasattr(one, "shape") else np.asarray(one), value)


def count_examples(data: Data) -> int:
    """The number of examples of a batch; 0 without an array."""
    return next((int(one.shape[0]) for one in keras.tree.flatten(data) if one is not None and one.shape), 0)


@contextlib.contextmanager
def new_model(
    make_model: Callable[[], keras.Model], batch: Any, layout_map: keras.distribution.LayoutMap | None, seed: int
) -> Iterator[tuple[keras.Model, tuple[Any, ...]]]:
    """A model under the distribution, built on the batch, and the arguments of ``train_on_batch``.

    Keras' seed is set before. Afterwards no distribution is set, even after an error.
    """
    distribution = None
    if layout_map is not None:
        distribution = keras.distribution.ModelParallel(
            layout_map=layout_map, batch_dim_name=layout_map.device_mesh.axis_names[0], auto_shard_dataset=False
        )
    keras.distribution.set_distribution(distribution)
    try:
        with fresh_names(), warnings.catch_warnings():
            # XLA on the CPU warns of donated buffers that it cannot use.
            warnings.filterwarnings("ignore", message="Some donated buffers were not usable")
            keras.utils.set_random_seed(seed)
            model = make_model()
            arguments = batch if isinstance(batch, tuple) else (batch,)
            build_on(model, arguments[0])
            yield model, arguments
            del model
    finally:
        keras.distribution.set_distribution(None)
        # A model has reference cycles; without this, old models would stay in memory.
        gc.collect()


def train_losses(model: keras.Model, arguments: tuple[Any, ...], steps: int) -> tuple[float, ...]:
    """Train on one batch, and return the loss of each step."""
    return tuple(float(model.train_on_batch(*arguments, return_dict=True)["loss"]) for _ in range(steps))


def build_on(model: keras.Model, x: Any) -> None:
    """Create the variables of a model that has not seen an input, without computing anything."""
    if all(layer.built for layer in model._flatten_layers()):
        return

    def symbolic(array: Any) -> keras.KerasTensor:
        array = array if hasattr(array, "shape") else np.asarray(array)
        return keras.KerasTensor(array.shape, keras.backend.standardize_dtype(array.dtype))

    keras.src.backend.compute_output_spec(model, keras.tree.map_structure(symbolic, x), training=False)


def copy_optimizer(
    optimizer: keras.optimizers.Optimizer, variant: Callable[[Any], Any] = lambda optimizer_class: optimizer_class
) -> keras.optimizers.Optimizer:
    """An unbuilt optimizer with the same settings.

    ``variant`` makes a subclass of its class; within a LossScaleOptimizer, of the inner one's.
    """
    config = optimizer.get_config()
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        inner = copy_optimizer(optimizer.inner_optimizer, variant)
        return type(optimizer)(inner, config["initial_scale"], config["dynamic_growth_steps"], config["name"])
    copied = variant(type(optimizer)).from_config(config)
    for name in ("_exclude_from_weight_decay", "_exclude_from_weight_decay_pattern"):
        if hasattr(optimizer, name):
            setattr(copied, name, getattr(optimizer, name))
    return copied


@contextlib.contextmanager
def spare_training_state(model: keras.Model, optimizer: keras.optimizers.Optimizer, data: Data) -> Iterator[None]:
    """In this context the model trains with this optimizer; afterwards it has its own again.

    Losses and metrics that are not built are built on the data, and are unbuilt again at the end.
    """
    # Not by setattr, which would track the metrics a second time.
    attributes = vars(model)
    before = {name: attributes[name] for name in ("optimizer", "_compile_loss", "_compile_metrics")}
    loss, metrics = before["_compile_loss"], before["_compile_metrics"]
    if loss is not None and not loss.built:
        attributes["_compile_loss"] = CompileLoss(
            loss._user_loss, loss._user_loss_weights, output_names=loss.output_names
        )
    if metrics is not None and not metrics.built:
        attributes["_compile_metrics"] = CompileMetrics(
            metrics._user_metrics, metrics._user_weighted_metrics, output_names=metrics.output_names
        )
    attributes["optimizer"] = optimizer
    try:
        optimizer.build(model.trainable_variables)
        model._symbolic_build(data_batch=data)
        yield
    finally:
        attributes.update(before)


def state_variables(model: keras.Model) -> tuple[list[keras.Variable], ...]:
    """What a step changes: trainable, non-trainable, optimizer and metrics variables."""
    optimizer = model.optimizer.variables
    return model.trainable_variables, model.non_trainable_variables, optimizer, model.metrics_variables


@dataclass(frozen=True)
class StateVariable:
    """A variable of a step's state, and how it is sharded."""

    #: "trainable", "non_trainable", "optimizer" or "metrics".
    group: str
    path: str
    shape: tuple[int, ...]
    #: Bytes of the whole variable, and of one device's shard.
    nbytes: int
    shard_nbytes: int


@dataclass(frozen=True)
class LoweredTrainStep:
    """A training step that is traced and lowered for a mesh, ready to be compiled."""

    lowered: Any
    variables: tuple[StateVariable, ...]
    #: Bytes of one device's part of the batch.
    data_nbytes: int


GROUPS = ("trainable", "non_trainable", "optimizer", "metrics")


def lower_train_step(
    model: keras.Model,
    data: Data,
    layout_map: keras.distribution.LayoutMap,
    devices: Sequence[Any] | None = None,
) -> LoweredTrainStep:
    """Trace and lower the training step that ``fit`` would run under ``ModelParallel``.

    The model is built and compiled. Its variables need no values, and are not changed: the step
    takes descriptions of arrays. Each variable has the layout that the layout map gives its path,
    and each moment of the optimizer that of its variable. The batch is sharded over the first axis
    of the mesh. ``devices``, as many as the mesh has, replace those of the mesh.
    """
    mesh = layout_map.device_mesh
    distribution = keras.distribution.ModelParallel(
        layout_map=layout_map, batch_dim_name=mesh.axis_names[0], auto_shard_dataset=False
    )
    chosen = mesh.backend_mesh.devices if devices is None else np.array(devices).reshape(mesh.shape)
    jax_mesh = jax.sharding.Mesh(chosen, tuple(mesh.axis_names))
    optimizer = copy_optimizer(model.optimizer)
    placed = keras.tree.map_structure(lambda one: None if one is None else _part(one, jax_mesh), data)
    with _layouts(model.variables, distribution):
        with no_weights():
            optimizer.build(model.trainable_variables)
        with spare_training_state(model, optimizer, data):
            lowered = lower_distributed(model, placed, distribution, jax_mesh)
            groups = zip(GROUPS, state_variables(model), strict=True)
            described = tuple(_state_variable(group, one, jax_mesh) for group, found in groups for one in found)
    parts = [one for one in keras.tree.flatten(placed) if one is not None]
    return LoweredTrainStep(lowered, described, sum(_shard_nbytes(one) for one in parts))


def lower_distributed(
    model: keras.Model,
    data: Data,
    distribution: Distribution,
    mesh: jax.sharding.Mesh,
    make_train_step: Callable[[keras.Model], Callable[..., Any]] | None = None,
) -> Any:
    """Lower the training step of a built and compiled model whose variables have layouts.

    The state is donated and keeps its shardings. ``data`` is a batch of ``jax.ShapeDtypeStruct``
    with shardings. ``make_train_step`` makes another step than Keras' own, whose state has no
    metrics.
    """
    state = tuple([describe_array(one, mesh) for one in variables] for variables in state_variables(model))
    with _devices_of(distribution.device_mesh, mesh), distribution.scope():
        step: Any
        if make_train_step is None:
            shardings = tuple([array.sharding for array in arrays] for arrays in state)
            step = jax.jit(model.train_step, donate_argnums=0, out_shardings=(None, shardings))
        else:
            made, state = make_train_step(model), state[:3]
            step = made if hasattr(made, "lower") else jax.jit(made, donate_argnums=0)
        return step.lower(state, data)


@contextlib.contextmanager
def _layouts(variables: Sequence[keras.Variable], distribution: keras.distribution.ModelParallel) -> Iterator[None]:
    """Variables have the layouts that they would get under the distribution, which copies read."""
    before = [variable._layout for variable in variables]
    try:
        for variable in variables:
            variable._layout = None
            variable._layout = distribution.get_variable_layout(variable)
        yield
    finally:
        for variable, layout in zip(variables, before, strict=True):
            variable._layout = layout


@contextlib.contextmanager
def _devices_of(mesh: keras.distribution.DeviceMesh, jax_mesh: jax.sharding.Mesh) -> Iterator[None]:
    """Let Keras' mesh stand for these devices, to which layouts then refer."""
    before = getattr(mesh, "_backend_mesh", None)
    mesh._backend_mesh = jax_mesh
    try:
        yield
    finally:
        mesh._backend_mesh = before


def spec_of(variable: keras.Variable) -> tuple[Any, ...]:
    """For each dimension of a variable a mesh axis, a tuple of axes, or None."""
    axes = tuple(variable._layout.axes) if variable._layout is not None else ()
    return axes + (None,) * (len(variable.shape) - len(axes))


def describe_array(variable: keras.Variable, mesh: jax.sharding.Mesh) -> jax.ShapeDtypeStruct:
    """The array that a variable with its layout has on a mesh."""
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*spec_of(variable)))
    dtype = keras.backend.standardize_dtype(variable.dtype)
    return jax.ShapeDtypeStruct(tuple(variable.shape), dtype, sharding=sharding)


def _part(array: Any, mesh: jax.sharding.Mesh) -> jax.ShapeDtypeStruct:
    """An array of the batch, sharded over the first axis of the mesh."""
    axes = (mesh.axis_names[0],) if array.shape else ()
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes))
    # The dtype that JAX gives an array of NumPy's.
    return jax.ShapeDtypeStruct(array.shape, jax.dtypes.canonicalize_dtype(array.dtype), sharding=sharding)


def _shard_nbytes(array: jax.ShapeDtypeStruct) -> int:
    shape = array.sharding.shard_shape(array.shape)
    return int(np.prod(shape, dtype=np.int64)) * array.dtype.itemsize


def _state_variable(group: str, variable: keras.Variable, mesh: jax.sharding.Mesh) -> StateVariable:
    described = describe_array(variable, mesh)
    nbytes = int(np.prod(described.shape, dtype=np.int64)) * described.dtype.itemsize
    return StateVariable(group, variable.path, tuple(described.shape), nbytes, _shard_nbytes(described))


def nbytes_by_group(step: LoweredTrainStep) -> Mapping[str, int]:
    """Bytes of one device's shards by :data:`GROUPS`, and of its part of the batch ("batch")."""
    found = {group: sum(one.shard_nbytes for one in step.variables if one.group == group) for group in GROUPS}
    return found | {"batch": step.data_nbytes}
