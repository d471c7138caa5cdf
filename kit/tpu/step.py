"""The training step of ``fit``, lowered for a TPU topology without weights."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import keras
from keras.src.distribution.distribution_lib import Distribution

from kit.evidence.layer_kinds import LayerKinds
from kit.evidence.rule_coverage import RuleCoverage, check_coverage, rule_coverage
from kit.evidence.train_step import GROUPS, lower_distributed, spec_of, state_variables
from kit.models.abstract import mesh_of
from kit.models.batches import inputs_of_sizes
from kit.models.blocks import first_blocks
from kit.models.weightless import VariableInfo, build_backbone, describe, describe_model, no_weights

if TYPE_CHECKING:
    import keras_hub


@dataclass(frozen=True)
class StepSettings:
    """The settings of the step that is compiled."""

    #: Sizes of the mesh's axes, which are "batch" and "model" for a Gemma.
    mesh: tuple[int, ...]
    #: Rank of LoRA; 0 tunes all parameters.
    rank: int = 4
    batch_size: int = 2
    #: Tokens of an example.
    sequence_length: int = 128
    #: "float32", "bfloat16" or "mixed_bfloat16".
    dtype: str = "float32"
    #: Recompute each decoder block's activations in the backward pass.
    remat: bool = False


@dataclass(frozen=True)
class StepParts:
    """The functions of the parts that the step is made of."""

    make_layout_map: Callable[[keras.distribution.DeviceMesh], keras.distribution.LayoutMap]
    enable_lora: Callable[["keras_hub.models.CausalLM", int], None]
    #: Sets loss, optimizer and metrics: ``(model, learning_rate, weight_decay)``.
    compile_for_finetuning: Callable[["keras_hub.models.CausalLM", float, float], None]
    #: Compile this step instead of Keras' own: ``(model) -> step(state, batch)``, whose state has
    #: no metrics.
    make_train_step: Callable[["keras_hub.models.CausalLM"], Callable[..., Any]] | None = None


@dataclass(frozen=True)
class Slot:
    """A variable of the step's state, and how it is sharded."""

    #: "trainable", "non_trainable", "optimizer" or "metrics".
    group: str
    path: str
    #: The variable of the model that it belongs to: itself, or the one whose moment it is. Empty
    #: for step counts and metrics.
    variable: str
    shape: tuple[int, ...]
    dtype: str
    #: For each dimension a mesh axis, a tuple of axes, or None.
    spec: tuple[Any, ...]


@dataclass(frozen=True)
class StepState:
    """The state of a training step: its variables, and how they are sharded."""

    #: By group and number: the compiled program calls its parameters ``state[group][number]``.
    slots: tuple[tuple[Slot, ...], ...]
    variables: tuple[VariableInfo, ...]
    coverage: RuleCoverage
    #: The mesh's axes and their sizes, in the order of the devices.
    axes: Mapping[str, int]
    #: The axis along which the batch is split.
    batch_axis: str | None
    kinds: LayerKinds


@dataclass(frozen=True)
class LoweredStep(StepState):
    """A step that is traced and lowered, ready to be compiled."""

    lowered: Any


def lower_step(
    config: Mapping[str, Any], settings: StepSettings, parts: StepParts, devices: Sequence[Any], num_layers: int | None
) -> LoweredStep:
    """Trace Keras' own train step, with donated state that keeps its shardings, and lower it.

    No weight is allocated. Each variable has the layout that it would get under ``ModelParallel``,
    and each moment of the optimizer that of its variable. ``config`` is the content of a preset's
    ``config.json``; ``num_layers`` replaces its number of decoder blocks. The devices are of a
    topology, or of this machine: as many as the mesh has, and as are simulated. Raises UserError if
    the layout map cannot be used on this model and mesh.
    """
    model, distribution = _distributed_model(config, settings, parts, num_layers)
    return lower_model(model, _data(settings, model), distribution, devices, parts.make_train_step)


def state_of_step(
    config: Mapping[str, Any], settings: StepSettings, parts: StepParts, num_layers: int | None
) -> StepState:
    """The state of the step that :func:`lower_step` lowers, which is not traced for it."""
    return describe_state(*_distributed_model(config, settings, parts, num_layers))


def _distributed_model(
    config: Mapping[str, Any], settings: StepSettings, parts: StepParts, num_layers: int | None
) -> tuple["keras_hub.models.CausalLM", keras.distribution.ModelParallel]:
    distribution = keras.distribution.ModelParallel(
        layout_map=parts.make_layout_map(_keras_mesh(settings.mesh)), batch_dim_name="batch", auto_shard_dataset=False
    )
    return _model(config, settings, parts, distribution, num_layers), distribution


def lower_model(
    model: keras.Model,
    data: tuple[Any, Any, Any],
    distribution: Distribution,
    devices: Sequence[Any],
    make_train_step: Callable[[keras.Model], Callable[..., Any]] | None = None,
) -> LoweredStep:
    """Lower the train step of a model that is built, compiled and has layouts, but no values.

    ``data`` is a batch of ``jax.ShapeDtypeStruct``, as (inputs, targets, sample weights).
    """
    jax_mesh = mesh_of(distribution.device_mesh, devices)
    placed = _sharded(data, distribution, jax_mesh)
    lowered = lower_distributed(model, placed, distribution, jax_mesh, make_train_step)
    return LoweredStep(**vars(describe_state(model, distribution)), lowered=lowered)


def describe_state(model: keras.Model, distribution: Distribution) -> StepState:
    """The state of the model's training step under the distribution."""
    mesh, variables = distribution.device_mesh, describe_model(model)
    named = zip(GROUPS, state_variables(model), strict=True)
    return StepState(
        tuple(tuple(_slot(group, variable, model) for variable in members) for group, members in named),
        tuple(variables),
        rule_coverage(layout_map_of(distribution), variables),
        dict(zip(mesh.axis_names, mesh.shape, strict=True)),
        distribution.batch_dim_name,
        LayerKinds.of((variable.path, variable.shape) for variable in variables),
    )


def layout_map_of(distribution: Distribution) -> keras.distribution.LayoutMap:
    """The distribution's layout map; one without rules for data parallelism."""
    found = getattr(distribution, "_layout_map", None)
    return keras.distribution.LayoutMap(distribution.device_mesh) if found is None else found


def _keras_mesh(shape: tuple[int, ...]) -> keras.distribution.DeviceMesh:
    return keras.distribution.DeviceMesh(shape, ["batch", "model"], keras.distribution.list_devices())


def _model(
    config: Mapping[str, Any],
    settings: StepSettings,
    parts: StepParts,
    distribution: keras.distribution.ModelParallel,
    num_layers: int | None,
) -> "keras_hub.models.CausalLM":
    if num_layers:
        config = first_blocks(config, num_layers)
    blocks = [f"decoder_block_{number}" for number in range(config["config"]["num_layers"])]
    remat = keras.RematScope(mode="list_of_layers", layer_names=blocks if settings.remat else [])
    with no_weights(), remat if settings.remat else contextlib.nullcontext():
        backbone = build_backbone(config, dtype=settings.dtype)
    # A task creates its optimizer and metrics, which is impossible without values. They are small.
    model = _task_class(backbone)(backbone=backbone, preprocessor=None)
    with no_weights():
        if settings.rank:
            parts.enable_lora(model, settings.rank)
    check_coverage(rule_coverage(distribution._layout_map, describe(model.variables)), settings.mesh)
    for variable in model.variables:
        # The layout that it would have under the distribution. The optimizer's slots copy it.
        if variable._layout is None:
            variable._layout = distribution.get_variable_layout(variable)
    parts.compile_for_finetuning(model, 5e-5, 0.01)
    with no_weights():
        model.optimizer.build(model.trainable_variables)
    model._symbolic_build(data_batch=_data(settings, model))
    return model


def _task_class(backbone: "keras_hub.models.Backbone") -> type:
    """KerasHub's causal language model with this backbone.

    Another class may have the same backbone: the assistant of Gemma 4 drafts tokens for it.
    """
    import keras_hub

    name = type(backbone).__name__
    found = getattr(keras_hub.models, name.replace("Backbone", "CausalLM"), None)
    if found is None or getattr(found, "backbone_cls", None) is not type(backbone):
        raise ValueError(f"KerasHub has no causal language model of a {name}")
    return found


def _data(settings: StepSettings, model: "keras_hub.models.CausalLM") -> tuple[Any, Any, Any]:
    """A batch as the preprocessor makes it: (inputs, next tokens, sample weights)."""
    shape = (settings.batch_size, settings.sequence_length)
    return inputs_of_sizes(model, shape), jax.ShapeDtypeStruct(shape, "int32"), jax.ShapeDtypeStruct(shape, "bool")


def _sharded(data: Any, distribution: Distribution, mesh: jax.sharding.Mesh) -> Any:
    def sharded(array: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        axes = distribution.get_data_layout(array.shape).axes if array.shape else ()
        sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes))
        return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding)

    return jax.tree.map(sharded, data)


def _slot(group: str, variable: keras.Variable, model: keras.Model) -> Slot:
    owner = variable.path if group in ("trainable", "non_trainable") else ""
    if group == "optimizer":
        # Keras names a moment by its variable's path, with "_" for "/".
        name = variable.path.partition("/")[2]
        paths = [other.path for other in model.trainable_variables]
        owner = next((path for path in paths if name.startswith(path.replace("/", "_") + "_")), "")
    dtype = keras.backend.standardize_dtype(variable.dtype)
    return Slot(group, variable.path, owner, tuple(variable.shape), dtype, spec_of(variable))
