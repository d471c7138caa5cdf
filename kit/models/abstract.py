"""Building any Keras model as usual, without memory for its weights."""

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
from keras.src.backend.common import global_state
from keras.src.backend.common.stateless_scope import in_stateless_scope
from keras.src.backend.jax import core as jax_core
from keras.src.backend.jax import distribution_lib
from keras.src.distribution.distribution_lib import Distribution
from keras.src.utils.jax_utils import is_in_jax_tracing_scope

from kit.errors import UserError
from kit.formatting import format_bytes

#: An initial value of more bytes is not computed: a function that reads it computes with weights.
MOST_READ = 2**20


class AbstractBuild:
    """What was seen while a model was built without values."""

    def __init__(self) -> None:
        #: The last distribution under which a variable was created.
        self.distribution: Distribution | None = None
        #: Variables that were created while no distribution was set.
        self.created_before: list[keras.Variable] = []


@contextlib.contextmanager
def abstract_variables(devices: Sequence[Any] | None = None) -> Iterator[AbstractBuild]:
    """Create variables with path, shape, dtype and layout in this context, but without a value.

    Unlike :func:`kit.models.weightless.no_weights`, a model may be compiled here, and may have an
    optimizer, metrics and a distribution. A layer that is called on arrays computes only the shapes
    of its outputs. Presets give only their configuration if
    KerasHub is imported by then. ``devices`` stand for the
    simulated ones in each device mesh that is used here: those of a topology have no memory that an
    array could be put into.

    Keras has no public interface for this, so methods of its variables and layers are replaced in
    this context.
    """
    found = AbstractBuild()
    with contextlib.ExitStack() as stack:
        for owner, name, value in _replacements(found, devices):
            stack.enter_context(_replaced(owner, name, value))
        yield found


@contextlib.contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    own = vars(owner).get(name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        # An inherited attribute is found again without the replacement.
        delattr(owner, name) if own is None else setattr(owner, name, own)


def _replacements(found: AbstractBuild, devices: Any) -> Iterator[tuple[Any, str, Any]]:
    """(owner, attribute, what replaces it)."""
    variable = jax_core.JaxVariable
    yield variable, "_initialize_with_initializer", _without_value(found)
    yield variable, "_initialize", _with_small_value(found)
    yield variable, "_deferred_initialize", lambda self: _set_layout(self, found)
    yield variable, "_direct_assign", _assign_nothing
    yield variable, "value", property(_reading_no_weights(variable.value.fget))
    yield keras.layers.Layer, "__call__", _on_shapes(keras.layers.Layer.__call__)
    yield keras.Model, "load_weights", lambda self, *_, **__: None
    yield from _presets_without_weights()
    if devices is not None:
        yield distribution_lib, "_to_backend_mesh", lambda mesh: mesh_of(mesh, devices)


def mesh_of(mesh: keras.distribution.DeviceMesh, devices: Any) -> jax.sharding.Mesh:
    """The mesh with other devices, in the order that the names ``cpu:3`` of its devices give."""
    numbers = [getattr(name, "id", None) for name in mesh.devices.flatten()]
    names = [str(name).rpartition(":")[2] for name in mesh.devices.flatten()]
    chosen = [devices[int(name) if number is None else number] for number, name in zip(numbers, names, strict=True)]
    return jax.sharding.Mesh(np.array(chosen).reshape(mesh.shape), tuple(mesh.axis_names))


def _set_layout(variable: Any, found: AbstractBuild) -> None:
    distribution = global_state.get_global_attribute("distribution")
    if distribution is None:
        found.created_before.append(variable)
        return
    found.distribution = distribution
    # Keras refuses a path that two rules match. The caller checks the whole layout map.
    with contextlib.suppress(ValueError):
        variable._initialize_layout()


def _without_value(found: AbstractBuild) -> Callable[..., None]:
    def initialize(self: Any, initializer: Any) -> None:
        self._initializer = initializer
        self._value = None
        _set_layout(self, found)

    return initialize


def _with_small_value(found: AbstractBuild) -> Callable[..., None]:
    def initialize(self: Any, value: Any) -> None:
        self._shape = self._validate_shape(value.shape)
        self._value = value
        _set_layout(self, found)

    return initialize


def _assign_nothing(self: Any, value: Any) -> None:
    if self._value is not None:
        self._value = value


def _reading_no_weights(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def value(self: Any) -> Any:
        if self._value is None and not in_stateless_scope():
            nbytes = int(np.prod(self._shape)) * jnp.dtype(self._dtype).itemsize
            if nbytes > MOST_READ and not is_in_jax_tracing_scope():
                raise UserError(
                    f"it reads the values of {self.path} ({format_bytes(nbytes)}), and a plan has none: build and "
                    "compile the model there, and compute with it elsewhere"
                )
        return read(self)

    return value


def _on_shapes(call: Callable[..., Any]) -> Callable[..., Any]:
    """A call of a layer that, outside of any tracing, computes only the shapes of its outputs."""

    def symbolic(value: Any) -> Any:
        if isinstance(value, np.ndarray | jax.Array) and not isinstance(value, jax.core.Tracer):
            return keras.KerasTensor(value.shape, jax.dtypes.canonicalize_dtype(value.dtype))
        return value

    def called(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not in_stateless_scope():
            given = keras.tree.flatten((args, kwargs))
            if any(isinstance(one, np.ndarray | jax.Array) for one in given) and not is_in_jax_tracing_scope():
                args, kwargs = keras.tree.map_structure(symbolic, (args, kwargs))
        return call(self, *args, **kwargs)

    return called


def _presets_without_weights() -> Iterator[tuple[Any, str, Any]]:
    keras_hub = sys.modules.get("keras_hub")
    if keras_hub is None:
        return
    for owner in (keras_hub.models.Backbone, keras_hub.models.Task):
        original = vars(owner)["from_preset"].__func__

        def from_preset(
            cls: type, /, preset: Any, load_weights: bool = True, _make: Any = original, **more: Any
        ) -> Any:
            del load_weights
            return _make(cls, preset, load_weights=False, **more)

        yield owner, "from_preset", classmethod(from_preset)
