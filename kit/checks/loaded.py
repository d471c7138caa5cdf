"""A check of a loaded model: each weight has the value in the file, on each device."""

import gc
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kit.checks.diagnosis import Failed
from kit.checks.failure import raises_check_failed
from kit.checks.placement import judge_device_counts, require_values
from kit.checks.tables import Row, grouped, limited
from kit.formatting import format_bytes, format_tuple

if TYPE_CHECKING:
    import jax
    import keras
    import numpy as np

    from kit.evidence.stored_weights import StoredWeight, StoredWeights


@raises_check_failed
def check_loaded(model: "keras.Model", preset: "str | Path") -> int:
    """Check that each weight of a model equals the file's, shard by shard, and none is left over.

    The check reads the files itself, and compares bit by bit each shard on each device with its
    slice of the file, converted to the dtype of the variable. Run it before anything trains.
    Where JAX has several devices, the weights must be on all of them, and no second copy of a
    weight may be on one. LoRA's matrices, which such files do not have, are left out.

    It costs one reading of the files, and memory for the largest tensor; of a preset of
    transformers, for all its tensors.

    Args:
        model: Loaded: a backbone, a task of KerasHub, or any model of Keras.
        preset: What it was loaded from: a preset's folder or name, with ``*.weights.h5`` or
            ``*.safetensors``, sharded or not; or a file ``*.weights.h5`` or ``*.weights.json``.

    Returns:
        The number of weights that were compared.

    Raises:
        CheckFailed: NOTHING_TO_CHECK, LOADING_NO_DISTRIBUTION, LOADING_DISTRIBUTION_TOO_LATE,
            WEIGHTS_NOT_IN_FILE, WEIGHTS_LEFT_OVER, WEIGHTS_DIFFER_FROM_FILE, WEIGHTS_HELD_TWICE.
    """
    import jax

    from kit.evidence.placement import placements
    from kit.evidence.stored_weights import stored_weights

    found = placements(model.weights)
    require_values(found)
    if jax.device_count() > 1:
        judge_device_counts(found)
    with stored_weights(model, preset) as stored:
        _require_same_weights(model, stored)
        differing = [different for one in stored.weights if (different := _compare(one, stored)) is not None]
        _judge_values(differing, len(stored.weights))
        number = len(stored.weights)
    _judge_copies(model)
    return number


def _require_same_weights(model: "keras.Model", stored: "StoredWeights") -> None:
    from kit.models.weightless import describe

    if stored.missing:
        missing = describe(list(stored.missing))
        every = len(missing) == len(model.weights)
        entries = [entry.name for entry in stored.left_over]
        raise Failed(
            "WEIGHTS_NOT_IN_FILE",
            f"{'All' if every else len(missing)} of the model's {len(model.weights)} weights are not in the file"
            + (f": {stored.errors[0]}" if stored.errors else ", so that they have their initial values."),
            ("variable, or entry without one", "number", "shape", "bytes"),
            limited(
                [
                    *(
                        (one.label, one.count, format_tuple(one.shape), format_bytes(one.nbytes))
                        for one in grouped(missing)
                    ),
                    *((name, 1, format_tuple(stored.entries[name].shape), "in the file") for name in entries),
                ]
            ),
            "Build the model with the file's architecture: compare the variables with the entries that are left."
            if entries
            else "Load them from another file; or, if they are to be initialized, pass only the backbone to the check.",
        )
    if stored.left_over:
        raise Failed(
            "WEIGHTS_LEFT_OVER",
            f"{len(stored.left_over)} of the file's {len(stored.entries)} entries are for no weight of the model.",
            ("entry", "file", "shape"),
            limited([(one.name, one.file, format_tuple(one.shape)) for one in stored.left_over]),
            "Build the model with the file's architecture: the number of layers, biases, encoders.",
        )
    if not stored.weights:
        raise Failed("NOTHING_TO_CHECK", "The file has no weight of the model.", remedy="Pass the file it came from.")


@dataclass(frozen=True)
class _Different:
    """A weight that differs from the file."""

    path: str
    names: tuple[str, ...]
    #: One of :data:`_REASONS`.
    reason: str
    #: What the reason leaves open, such as the entry whose values it has.
    detail: str
    largest: float


#: Reason -> headline and remedy; the first that holds for most weights is the cause.
_REASONS = {
    "another entry's values": (
        "each has the values of another entry of the files",
        "Load again with a Keras that reads each entry from its own shard (keras 22739), or from a single file.",
    ),
    "some shards": (
        "some of their shards have other values than the file, and others are right",
        "Let Keras place the value (variable.assign), or give each device the slice of its own index.",
    ),
    "all zero": ("all their values are 0", "Load the file again: nothing has been assigned to them."),
    "rounded": (
        "each has the file's values rounded to a dtype with fewer digits",
        "Load into float32 directly: convert no value to the coarser dtype on the way.",
    ),
    "transposed": (
        "each has the file's values with two dimensions swapped",
        "Swap no dimensions when you assign them.",
    ),
    "merged": (
        "each differs from the file by a matrix of low rank, as a merged adapter does",
        "Merge no adapters before the check, or compare with the merged file.",
    ),
    "other values": (
        "they were compared with each entry of their shape, with 0, with a transposition and with rounding, and are "
        "none of these",
        "Check that the model was loaded from this file, and that nothing has trained it since.",
    ),
}


def _compare(stored: "StoredWeight", weights: "StoredWeights") -> _Different | None:
    """Compare each shard, and look for the reason of a difference."""
    import jax.numpy as jnp
    import numpy as np

    variable = stored.variable
    dtype = jnp.dtype(variable.dtype)
    shards = variable.value.addressable_shards
    slices: dict[str, np.ndarray] = {}
    wrong = []
    largest = 0.0
    for shard in shards:
        key = str(shard.index)
        if key not in slices:
            # Only a replicated value has its slice read once for all devices.
            slices = {key: np.asarray(stored.value[shard.index]).astype(dtype)}
        held = np.asarray(shard.data)
        if held.tobytes() != slices[key].tobytes():
            wrong.append(shard)
            largest = max(largest, _distance(held, slices[key]))
    if not wrong:
        return None
    devices = ", ".join(str(shard.device) for shard in wrong)
    reason, detail = _reason(stored, weights) if len(wrong) == len(shards) else ("some shards", devices)
    return _Different(variable.path, stored.names, reason, detail, largest)


def _distance(held: "np.ndarray", wanted: "np.ndarray") -> float:
    import numpy as np

    return float(np.max(np.abs(held.astype("float64") - wanted.astype("float64")))) if held.size else 0.0


def _reason(stored: "StoredWeight", weights: "StoredWeights") -> tuple[str, str]:
    import jax.numpy as jnp
    import numpy as np

    variable = stored.variable
    dtype = jnp.dtype(variable.dtype)
    held = np.asarray(variable.value)
    wanted = np.asarray(stored.value[...]).astype(dtype)
    if not np.any(held):
        return "all zero", ""
    for coarse in (jnp.bfloat16, jnp.float16):
        if jnp.issubdtype(dtype, jnp.floating) and np.array_equal(wanted.astype(coarse).astype(dtype), held):
            return "rounded", jnp.dtype(coarse).name
    for name, entry in weights.entries.items():
        if (
            name not in stored.names
            and entry.shape == tuple(held.shape)
            and np.array_equal(entry[()].astype(dtype), held)
        ):
            return "another entry's values", f"{name} in {entry.file}"
    for first in range(held.ndim):
        for second in range(first + 1, held.ndim):
            swapped = np.swapaxes(wanted, first, second)
            if np.array_equal(swapped, held) or np.array_equal(swapped.reshape(held.shape), held):
                return "transposed", f"{first} and {second}"
    return _merged(stored, held, wanted) or ("other values", "")


def _merged(stored: "StoredWeight", held: "np.ndarray", wanted: "np.ndarray") -> tuple[str, str] | None:
    """Whether the difference is a product of thin matrices, as LoRA adds it."""
    import numpy as np

    if held.ndim < 2 or not np.issubdtype(held.dtype, np.floating):
        return None
    delta = (held.astype("float64") - wanted).reshape(-1, held.shape[-1])
    side = min(delta.shape)
    if side < 8 or delta.size > 2**24:
        return None
    sizes = np.linalg.svd(delta, compute_uv=False)
    rank = int(np.sum(sizes > 1e-4 * sizes[0]))
    return ("merged", f"rank {rank}") if rank <= side // 4 else None


def _judge_values(differing: Sequence[_Different], number: int) -> None:
    if not differing:
        return
    reasons = [one.reason for one in differing]
    most = min(set(reasons), key=lambda reason: (-reasons.count(reason), list(_REASONS).index(reason)))
    headline, remedy = _REASONS[most]
    others = len(reasons) - reasons.count(most)
    raise Failed(
        "WEIGHTS_DIFFER_FROM_FILE",
        f"{reasons.count(most)} of {number} weights differ from the file: {headline}."
        + (f" {others} more differ in another way." if others else ""),
        ("variable", "entry", "it has", "", "largest difference"),
        limited(
            [
                (one.path, ", ".join(one.names), one.reason, one.detail, f"{one.largest:.3g}")
                for one in sorted(differing, key=lambda one: one.reason != most)
            ]
        ),
        remedy,
    )


def _buffer(array: "jax.Array") -> str:
    """Where the values of an array on one device are: two arrays can share them."""
    if array.is_deleted() or len(array.sharding.device_set) > 1:
        return ""
    try:
        (device,) = array.sharding.device_set
        return f"{device} {array.unsafe_buffer_pointer()}"
    except Exception as error:  # not every backend has pointers
        return f"unknown: {type(error).__name__} {id(array)}"


def _judge_copies(model: "keras.Model") -> None:
    """No array besides the weights has a sharded weight's values on a single device."""
    import jax
    import numpy as np

    if jax.device_count() < 2:
        return
    gc.collect()
    # Another model, such as an unsharded twin, holds its own weights.
    variables = [one for one in gc.get_objects() if type(one) is type(model.variables[0])]
    values = [one._value for one in variables if isinstance(getattr(one, "_value", None), jax.Array)]
    own = {id(value) for value in values} | {_buffer(value) for value in values}
    sharded: dict[tuple[Any, ...], list[keras.Variable]] = {}
    for weight in model.weights:
        if not weight.value.sharding.is_fully_replicated and math.prod(weight.shape) > 1:
            sharded.setdefault((tuple(weight.shape), weight.value.dtype), []).append(weight)
    rows: list[Row] = []
    for array in jax.live_arrays():
        if len(array.sharding.device_set) > 1 or (array.shape, array.dtype) not in sharded:
            continue
        if id(array) in own or _buffer(array) in own:
            continue
        held = np.asarray(array)
        for weight in sharded[array.shape, array.dtype]:
            if np.array_equal(held, np.asarray(weight.value)):
                (device,) = array.sharding.device_set
                rows.append((weight.path, format_tuple(array.shape), format_bytes(array.nbytes), str(device)))
                break
    if rows:
        raise Failed(
            "WEIGHTS_HELD_TWICE",
            f"{len(rows)} sharded weight{'s are' if len(rows) > 1 else ' is'} on one device a second time, with all of "
            "its values.".replace("its", "their" if len(rows) > 1 else "its"),
            ("weight", "shape", "bytes", "complete on"),
            limited(rows),
        )
