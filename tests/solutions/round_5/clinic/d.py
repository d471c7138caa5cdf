"""Diagnoses of layout maps and optimizers whose mistakes the loss does not show."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import keras


# The dimension of each matrix that costs least.
CHEAPEST = {
    "token_embedding/embeddings": 0,
    "query/kernel": 0,
    "key/kernel": 0,
    "value/kernel": 0,
    "attention_output/kernel": 0,
    "ffw_gating/kernel": 1,
    "ffw_gating_2/kernel": 1,
    "ffw_linear/kernel": 0,
}


def _ending(path: str) -> str:
    """The last two parts of a path."""
    return "/".join(path.split("/")[-2:])


def _model_axis_size(device_mesh: keras.distribution.DeviceMesh) -> int:
    return device_mesh.shape[list(device_mesh.axis_names).index("model")]


def _places(value: jax.Array) -> dict[Any, tuple]:
    """Which part of the array each device has."""
    parts = value.sharding.devices_indices_map(value.shape)
    return {
        device: tuple(one.indices(size) for one, size in zip(index, value.shape, strict=True))
        for device, index in parts.items()
    }


def deciding_rules(layout_map: keras.distribution.LayoutMap, paths: Sequence[str]) -> dict[str, list[str]]:
    """Return the rules that Keras finds for each path of a variable.

    Keras takes a key that equals the path. If there is none, it takes all keys that match the
    whole path as regular expressions. With none the variable is replicated; with several Keras
    raises an error.

    Args:
        layout_map: Any layout map. Iterate over it to get its keys.
        paths: Paths of variables.

    Returns:
        For each path its keys, in any order; an empty list if there are none.

    """
    found = {}
    for path in paths:
        # Task 1: Find the keys for this path, and put them into `found`. Do not change the layout
        # map.
        keys = [key for key in layout_map]
        exact = [key for key in keys if key == path]
        found[path] = exact or [key for key in keys if re.compile(key).fullmatch(path) is not None]
    return found


def diagnose_layout(
    layout_map: keras.distribution.LayoutMap, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, list[str]]:
    """Return what is wrong with a layout map for a model, and the names that show it.

    The causes, and what names them:

    - "rule without effect": keys that Keras finds for no path. A key of "two rules" has an effect.
    - "two rules": paths for which Keras finds several keys. They are in none of the lists below.
    - "does not fit": paths whose spec has more entries than the variable has dimensions, or an
      axis that does not divide its dimension. They are in none of the lists below.
    - "replicated": paths of matrices that no axis splits, and that should be split.
    - "costly dimension": paths of matrices that are split along another dimension than the one
      that costs least, and of scales that are split at all. If the axis "model" does not divide
      the heads of key and value, splitting these is costly, too.

    Adapters cost little: they are only in "two rules" and "does not fit".

    Args:
        layout_map: A layout map over a mesh with axes "batch" and "model". "model" has at least two
            devices. A spec uses this axis alone, and once at most.
        shapes: Path and shape of each variable of a Gemma of the first generation, which can have
            LoRA on any layer.

    Returns:
        Cause -> names, in any order. A cause that is not there has no names, or is left out.

    """
    rules = deciding_rules(layout_map, list(shapes))
    found: dict[str, list[str]] = {}
    # Task 2: Add "rule without effect" and "two rules" to `found`.
    effective = set().union(*rules.values())
    found["rule without effect"] = sorted(set(layout_map) - effective)
    found["two rules"] = [path for path in shapes if len(rules[path]) >= 2]
    # Task 3: Add "does not fit", "replicated" and "costly dimension" to `found`. For the dimension
    # that costs least see `kit lesson clinic "Where to look"`.
    model = _model_axis_size(layout_map.device_mesh)
    for path in shapes:
        if len(rules[path]) >= 2:
            continue
        shape = shapes[path]
        axes = layout_map[rules[path][0]].axes if rules[path] else ()
        where = axes.index("model") if "model" in axes else None
        ending = _ending(path)
        cheapest = CHEAPEST.get(ending)
        if ending in ("key/kernel", "value/kernel") and shape[0] % model != 0:
            cheapest = None
        cause = None
        if len(axes) > len(shape) or (where is not None and shape[where] % model != 0):
            cause = "does not fit"
        elif "/lora_" in path or where == cheapest:
            pass
        elif where is None:
            cause = "replicated"
        else:
            cause = "costly dimension"
        if cause is not None:
            found.setdefault(cause, []).append(path)
    return found


def diagnose_moments(
    trained: Mapping[str, jax.Array], moments: Mapping[str, Sequence[jax.Array]]
) -> dict[str, list[str]]:
    """Return what is wrong with the moments of an optimizer, and the paths that show it.

    - "placed unlike its variable": paths of trained variables of which a moment is not sharded like
      the variable. Specs that are written differently can place the same shards.
    - "of a frozen variable": paths with moments that are not trained.
    - "without moments": paths that are trained and have no moments.

    Args:
        trained: Path -> value of each trained variable.
        moments: Path -> the two moments that the optimizer keeps for the variable of this path.

    Returns:
        Cause -> paths, in any order. A cause that is not there has no paths, or is left out.

    """
    # Task 4: Compare the paths, and the sharding of each variable with that of its moments. A
    # moment has the shape of its variable.
    diagnosis: dict[str, list[str]] = {}
    for path in sorted(trained.keys() | moments.keys()):
        if path not in trained:
            cause = "of a frozen variable"
        elif path not in moments:
            cause = "without moments"
        elif any(_places(moment) != _places(trained[path]) for moment in moments[path]):
            cause = "placed unlike its variable"
        else:
            continue
        diagnosis.setdefault(cause, []).append(path)
    return diagnosis


def prescribe(
    device_mesh: keras.distribution.DeviceMesh, architecture: Mapping[str, Any]
) -> keras.distribution.LayoutMap:
    """Return the layout map that costs least for a Gemma of the first generation on this mesh.

    With it each patient is healthy: every rule for matrices has an effect, and no rule matches an
    adapter that its spec does not fit, on whatever layers LoRA is. A rule for lora_kernel_a is
    allowed, also where no layer has one.

    Args:
        device_mesh: A mesh with axes "batch" and "model". "model" divides the query heads.
        architecture: A backbone's ``get_config()``, such as ``architecture["num_layers"]``.

    """
    layout_map = keras.distribution.LayoutMap(device_mesh)
    # Task 5: Write the rules. Which of them depends on the mesh and on the architecture?
    whole = architecture["num_key_value_heads"] % _model_axis_size(device_mesh) != 0
    for ending, dimension in CHEAPEST.items():
        layer = ending.split("/")[0]
        if layer in ("key", "value") and whole:
            continue
        if layer == "token_embedding":
            layout_map[ending] = ("model", None)
            continue
        folder = "" if layer.startswith("ffw_") else "attention/"
        axes = [None, None] if layer.startswith("ffw_") else [None, None, None]
        axes[dimension] = "model"
        for number in range(architecture["num_layers"]):
            layout_map[f"decoder_block_{number}/{folder}{ending}"] = tuple(axes)
    return layout_map
