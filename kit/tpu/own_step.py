"""The training step of any compiled Keras model, from functions of its author, without weights."""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import keras
from keras.src.distribution.distribution_lib import Distribution

from kit.errors import UserError
from kit.evidence.rule_coverage import check_coverage, rule_coverage
from kit.models.abstract import AbstractBuild, abstract_variables
from kit.models.batches import Batch, batch_of_arrays, batch_of_sizes, check_batch_divides
from kit.models.user_functions import UserFunction, reason_of
from kit.models.weightless import describe_model, fresh_names
from kit.tpu.step import LoweredStep, StepSettings, layout_map_of, lower_model

#: Makes a layout map, or takes that of the distribution which the model's function sets.
MakeLayoutMap = Callable[[keras.distribution.DeviceMesh], keras.distribution.LayoutMap]


@dataclass(frozen=True)
class OwnModel:
    """How to build a model and its batch."""

    #: Builds and compiles the model.
    make_model: UserFunction
    #: Sizes of the batch's first dimensions, or a function that gives a batch of arrays.
    batch: tuple[int, ...] | UserFunction
    #: None: the model's function sets a distribution.
    make_layout_map: UserFunction | MakeLayoutMap | None = None
    #: The mesh's axes and their sizes; None: those that the model's function sets, or "batch" with
    #: one device and "model" with all.
    mesh: Mapping[str, int] | None = None
    #: The axis along which the batch is split; None: "batch", or the mesh's first.
    batch_axis: str | None = None


@dataclass(frozen=True)
class BuiltModel:
    """A model without values, whose variables have layouts."""

    model: keras.Model
    #: None if the model was built without a batch.
    data: Batch | None
    distribution: Distribution
    #: What the model's function is called, for messages.
    name: str

    @property
    def settings(self) -> StepSettings:
        """The settings that the model and its batch amount to."""
        assert self.data is not None
        sizes = next(array.shape for array in jax.tree.leaves(self.data) if array.shape)
        inputs = [array for array in jax.tree.leaves(self.data[0]) if array.ndim > 1]
        # Tokens are counted along the second dimension; other examples are one each.
        tokens = [array for array in inputs if jax.numpy.issubdtype(array.dtype, jax.numpy.integer)]
        ranks = {variable.shape[-1] for variable in self.model.variables if variable.name == "lora_kernel_a"}
        return StepSettings(
            tuple(self.distribution.device_mesh.shape),
            rank=max(ranks, default=0),
            batch_size=sizes[0],
            sequence_length=tokens[0].shape[1] if tokens else 1,
            dtype=_dtype_policy(self.model),
        )

    def lower(self, devices: Sequence[Any]) -> LoweredStep:
        """Trace and lower the training step. Raises UserError if the model cannot be traced."""
        assert self.data is not None
        with _failures_of(f"{self.name}: a training step on this batch"), abstract_variables(devices):
            return lower_model(self.model, self.data, self.distribution, devices)


def build_own_model(own: OwnModel, devices: Sequence[Any], to_lower: bool = True) -> BuiltModel:
    """Build the model, its metrics and its optimizer without values, with a layout for each.

    Unless the step is to be lowered, a model that is built is not traced, and has no batch. The
    devices are of a topology, or the simulated ones. Raises UserError if a function fails, if
    the model is not compiled, if it has no distribution on several devices, and if the layout map
    or the batch cannot be used on the mesh.
    """
    name, before = own.make_model.text, keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        with abstract_variables(devices) as found, fresh_names():
            model = own.make_model()
            _check_model(model, name)
            distribution = _distribution(own, found, len(devices))
            with distribution.scope(), _failures_of(f"{name}: the model on this batch"):
                data = None
                if to_lower or not all(layer.built for layer in model._flatten_layers()):
                    data = _data(own, model)
                    model._symbolic_build(data_batch=data)
            _set_layouts(model, distribution, own, found)
            check_batch_divides(data, distribution)
            with distribution.scope():
                if not model.optimizer.built:
                    model.optimizer.build(model.trainable_variables)
    finally:
        keras.distribution.set_distribution(before)
    return BuiltModel(model, data, distribution, name)


def _check_model(model: Any, name: str) -> None:
    if not isinstance(model, keras.Model):
        raise UserError(f"{name}: it returned {_a(type(model).__name__)}, not a keras.Model.")
    if not model.compiled or model.optimizer is None:
        task = f"{type(model).__name__.removesuffix('Backbone')}CausalLM"
        backbone = type(model).__name__.endswith("Backbone")
        hint = f", or wrap the backbone in a task such as {task}, which compiles itself" if backbone else ""
        raise UserError(
            f"{name}: the model is not compiled, and a training step needs its loss and its optimizer: call "
            f"`model.compile(optimizer, loss)` in {name.rpartition(':')[2]}{hint}."
        )


def _a(noun: str) -> str:
    return "nothing" if noun == "NoneType" else f"a {noun}"


def _distribution(own: OwnModel, found: AbstractBuild, count: int) -> Distribution:
    """That of the layout function, or the one that the model's function has set."""
    theirs = keras.distribution.distribution() or found.distribution
    distribution = None if own.make_layout_map else theirs
    if distribution is None:
        distribution = _of_layout_map(own, theirs, count)
    mesh = distribution.device_mesh
    shown = "x".join(map(str, mesh.shape))
    if own.mesh is not None and tuple(mesh.shape) != tuple(own.mesh.values()):
        raise UserError(
            f"--mesh {'x'.join(map(str, own.mesh.values()))}: the functions make the mesh {shown}; leave --mesh out."
        )
    if mesh.devices.size != count:
        raise UserError(
            f"{own.make_model.text}: the mesh {shown} has {mesh.devices.size} devices, but the topology has {count}; "
            "choose another with --topology, or make the mesh of `keras.distribution.list_devices()`."
        )
    return distribution


def _of_layout_map(own: OwnModel, theirs: Distribution | None, count: int) -> Distribution:
    if own.make_layout_map is None and count > 1:
        raise UserError(
            f"{own.make_model.text}: it sets no distribution, so nothing would be sharded: give the function that "
            "makes the layout map with `--layout FILE.py:FUNCTION`, or call `keras.distribution.set_distribution` "
            f"in {own.make_model.name}."
        )
    batch_axis = own.batch_axis or "batch"
    if theirs is not None and own.mesh is None:
        mesh, batch_axis = theirs.device_mesh, theirs.batch_dim_name
    else:
        axes = own.mesh or {"batch": 1, "model": count}
        if math.prod(axes.values()) != count:
            shown = "x".join(map(str, axes.values()))
            raise UserError(f"--mesh {shown}: it needs {math.prod(axes.values())} devices, but there are {count}.")
        devices = keras.distribution.list_devices()
        mesh = keras.distribution.DeviceMesh(tuple(axes.values()), [*axes], devices)
    make: UserFunction | Callable[..., Any] = own.make_layout_map or keras.distribution.LayoutMap
    takes_none = isinstance(make, UserFunction) and make.parameters == 0
    layout_map = make() if takes_none else make(mesh)
    if not isinstance(layout_map, keras.distribution.LayoutMap):
        name = getattr(make, "text", "--layout")
        raise UserError(f"{name}: it returned {_a(type(layout_map).__name__)}, not a keras.distribution.LayoutMap.")
    if layout_map.device_mesh is None:
        raise UserError(f"{getattr(make, 'text', '--layout')}: its layout map has no device mesh.")
    if batch_axis not in layout_map.device_mesh.axis_names:
        batch_axis = layout_map.device_mesh.axis_names[0]
    return keras.distribution.ModelParallel(layout_map=layout_map, batch_dim_name=batch_axis, auto_shard_dataset=False)


def _data(own: OwnModel, model: keras.Model) -> Batch:
    if not isinstance(own.batch, UserFunction):
        return batch_of_sizes(model, own.batch)
    made = own.batch()
    try:
        return batch_of_arrays(made)
    except (TypeError, ValueError) as error:
        raise UserError(f"{own.batch.text}: {error}; return arrays, as (x, y) or (x, y, sample_weight).") from None


def _set_layouts(model: keras.Model, distribution: Distribution, own: OwnModel, found: AbstractBuild) -> None:
    """Give each variable the layout that it has under the distribution."""
    late = {id(variable) for variable in found.created_before}
    early = [variable for variable in model.weights if id(variable) in late]
    if own.make_layout_map is None and found.distribution is not None and early:
        raise UserError(
            f"{own.make_model.text}: {len(early)} variables, such as {early[0].path}, are created before "
            "`set_distribution` is called, and Keras leaves them on one device: call it first."
        )
    mesh = distribution.device_mesh
    check_coverage(rule_coverage(layout_map_of(distribution), describe_model(model)), tuple(mesh.shape))
    for variable in model.variables:
        if own.make_layout_map is not None:
            # Keras returns a layout that a variable has.
            variable._layout = None
        if variable._layout is None:
            variable._layout = distribution.get_variable_layout(variable)
    if own.make_layout_map is not None and model.optimizer.built:
        owners = {variable.path.replace("/", "_"): variable for variable in model.trainable_variables}
        for moment in model.optimizer.variables:
            name = moment.path.rpartition("/")[2]
            owner = next((one for path, one in owners.items() if name.startswith(f"{path}_")), None)
            if owner is not None and owner.shape == moment.shape:
                moment._layout = owner._layout


def _dtype_policy(model: keras.Model) -> str:
    """The policy of the layer with the largest variable: a task's own is often another."""
    layers = [(variable, layer) for layer in model._flatten_layers() for variable in layer._trainable_variables]
    layers += [(variable, layer) for layer in model._flatten_layers() for variable in layer._non_trainable_variables]
    if not layers:
        return str(model.dtype_policy.name)
    return str(max(layers, key=lambda pair: math.prod(pair[0].shape))[1].dtype_policy.name)


@contextlib.contextmanager
def _failures_of(what: str) -> Iterator[None]:
    """Turn an exception of a user's model into one sentence."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{what} fails ({reason_of(error)}).") from error
