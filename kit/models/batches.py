"""The batch of a training step, as shapes: ``(inputs, targets, sample weights)``."""

from collections.abc import Sequence
from typing import Any

import jax
import keras
import numpy as np
from keras.src.backend import compute_output_spec
from keras.src.distribution.distribution_lib import Distribution
from keras.src.models import Functional

from kit.errors import UserError
from kit.formatting import format_tuple

Batch = tuple[Any, Any, Any]


def batch_of_sizes(model: keras.Model, sizes: Sequence[int]) -> Batch:
    """A batch for this model, of which the first dimensions have these sizes.

    The other dimensions are those of the model's inputs. A model without known inputs gets one
    array of this shape: token ids if it has embeddings. Raises UserError if the sizes do not fit
    the model's inputs.
    """
    inputs = inputs_of_sizes(model, sizes)
    outputs = compute_output_spec(model, _symbolic(inputs), training=False)
    targets = _targets(model.loss, outputs, _has_tokens(inputs))
    weights = _array(targets.shape, "bool") if _masks_padding(inputs) and hasattr(targets, "shape") else None
    return inputs, targets, weights


def inputs_of_sizes(model: keras.Model, sizes: Sequence[int]) -> Any:
    """The inputs of :func:`batch_of_sizes`, in the structure of the model's."""
    described = _inputs(model)
    if described is None:
        embeds = any(isinstance(layer, keras.layers.Embedding) for layer in model._flatten_layers())
        return _array(sizes, "int32" if embeds else "float32")
    return keras.tree.map_structure(lambda tensor: _input(tensor, sizes), described)


def batch_of_arrays(value: Any) -> Batch:
    """What a user's function returned, ``(x, y)`` or ``(x, y, sample_weight)``, as shapes.

    Raises TypeError if it has something other than arrays.
    """

    def described(leaf: Any) -> Any:
        if leaf is None:
            return None
        if not (hasattr(leaf, "shape") and hasattr(leaf, "dtype")):
            leaf = np.asarray(leaf)
        dtype = keras.backend.standardize_dtype(leaf.dtype)
        return _array(leaf.shape, jax.dtypes.canonicalize_dtype(dtype))

    if not isinstance(value, tuple | list | dict) and not hasattr(value, "shape"):
        raise TypeError(f"it returned a {type(value).__name__}")
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(tuple(value) if isinstance(value, list) else value)
    return tuple(keras.tree.map_structure(described, part) for part in (x, y, sample_weight))


def check_batch_divides(batch: Batch | None, distribution: Distribution) -> None:
    """Raises UserError if the mesh cannot split each array of the batch into equal parts."""
    mesh = distribution.device_mesh
    sizes = dict(zip(mesh.axis_names, mesh.shape, strict=True))
    for array in jax.tree.leaves(batch):
        if not array.shape:
            continue
        for size, axis in zip(array.shape, distribution.get_data_layout(array.shape).axes, strict=True):
            if axis is not None and size % sizes[axis]:
                raise UserError(
                    f"--batch: {size} examples cannot be split into {sizes[axis]} equal parts, one for each device "
                    f'along the axis "{axis}"; choose a multiple of {sizes[axis]}.'
                )


def _array(shape: Sequence[int], dtype: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(tuple(shape), jax.numpy.dtype(dtype))


def _symbolic(tree: Any) -> Any:
    return keras.tree.map_structure(
        lambda array: keras.KerasTensor(array.shape, keras.backend.standardize_dtype(array.dtype)), tree
    )


def _inputs(model: keras.Model) -> Any:
    """The model's inputs; None for a subclassed model, and for a Sequential without an input."""
    network = model._functional if isinstance(model, keras.Sequential) else model
    return network.input if isinstance(network, Functional) else None


def _input(tensor: keras.KerasTensor, sizes: Sequence[int]) -> jax.ShapeDtypeStruct:
    shape = []
    shown = "x".join(map(str, sizes))
    for dimension, known in enumerate(tensor.shape):
        given = sizes[dimension] if dimension < len(sizes) else None
        if known is None and given is None:
            raise UserError(
                f"--batch {shown}: the model's input {tensor.name} has the shape {format_tuple(tensor.shape)}; give a "
                f"size for each of the first {dimension + 1} dimensions."
            )
        if known is not None and given is not None and known != given:
            raise UserError(
                f"--batch {shown}: dimension {dimension} of the model's input {tensor.name} has {known} entries, "
                f"not {given}."
            )
        shape.append(known if known is not None else given)
    # KerasHub declares int32, and its preprocessors give bool.
    dtype = "bool" if tensor.name == "padding_mask" else keras.backend.standardize_dtype(tensor.dtype)
    return _array([size for size in shape if size is not None], dtype)


def _has_tokens(inputs: Any) -> bool:
    return any(np.issubdtype(array.dtype, np.integer) for array in jax.tree.leaves(inputs))


def _masks_padding(inputs: Any) -> bool:
    """Whether it is a language model of KerasHub, whose preprocessor gives weights of tokens."""
    return isinstance(inputs, dict) and "padding_mask" in inputs


def _targets(loss: Any, outputs: Any, has_tokens: bool) -> Any:
    """Targets that fit the losses: class numbers for a sparse one, else as the outputs."""
    if loss is None:
        return None
    if isinstance(outputs, dict):
        losses = loss if isinstance(loss, dict) else dict.fromkeys(outputs, loss)
        return {name: _targets(losses.get(name), output, has_tokens) for name, output in outputs.items()}
    if isinstance(outputs, list | tuple):
        each = loss if isinstance(loss, list | tuple) else [loss] * len(outputs)
        return [_targets(one, output, has_tokens) for one, output in zip(each, outputs, strict=True)]
    if isinstance(loss, dict):
        loss = next(iter(loss.values()))
    name = loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
    is_known = isinstance(loss, str | keras.losses.Loss) or getattr(loss, "__module__", "").startswith("keras.")
    sparse = "sparse" in name.lower() or (not is_known and has_tokens and len(outputs.shape) == 3)
    if sparse:
        return _array(outputs.shape[:-1], "int32")
    return _array(outputs.shape, "float32")
