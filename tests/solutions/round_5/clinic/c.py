"""Diagnoses of layout maps and optimizers whose mistakes the loss does not show."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import keras


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
        if path in list(layout_map):
            found[path] = [path]
        else:
            found[path] = [key for key in layout_map if re.fullmatch(key, path)]
    return found


def _cheapest_dimension(path: str, shape: tuple[int, ...], size: int) -> int | None:
    """The dimension to split over an axis of this size; None if the variable should be whole."""
    *_, layer, name = path.split("/")
    if name == "embeddings":
        return 0
    if name != "kernel":
        return None
    if layer in ("key", "value") and shape[0] % size:
        return None
    return 1 if layer.startswith("ffw_gating") else 0


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
    used = {key for keys in rules.values() for key in keys}
    found["rule without effect"] = [key for key in layout_map if key not in used]
    found["two rules"] = [path for path, keys in rules.items() if len(keys) > 1]
    # Task 3: Add "does not fit", "replicated" and "costly dimension" to `found`. For the dimension
    # that costs least see `kit lesson clinic "Where to look"`.
    mesh = layout_map.device_mesh
    sizes = dict(zip(mesh.axis_names, mesh.shape, strict=True))
    unfit, replicated, costly = [], [], []
    for path, shape in shapes.items():
        keys = rules[path]
        if len(keys) > 1:
            continue
        axes = tuple(layout_map[keys[0]].axes) if keys else ()
        uneven = [axis for axis, dimension in zip(axes, shape, strict=False) if axis and dimension % sizes[axis]]
        if len(axes) > len(shape) or uneven:
            unfit.append(path)
            continue
        if path.split("/")[-1].startswith("lora_"):
            continue
        split = [dimension for dimension, axis in enumerate(axes) if axis]
        best = _cheapest_dimension(path, shape, sizes["model"])
        if best is None:
            if split:
                costly.append(path)
        elif not split:
            replicated.append(path)
        elif split != [best]:
            costly.append(path)
    found |= {"does not fit": unfit, "replicated": replicated, "costly dimension": costly}
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
    elsewhere = []
    for path, value in trained.items():
        same = [
            moment.sharding.is_equivalent_to(value.sharding, value.ndim) for moment in moments.get(path, ())
        ]
        if not all(same):
            elsewhere.append(path)
    return {
        "placed unlike its variable": elsewhere,
        "of a frozen variable": [path for path in moments if path not in trained],
        "without moments": [path for path in trained if path not in moments],
    }


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
    block = r"decoder_block_\d+"
    layout_map["token_embedding/embeddings"] = ("model", None)
    layout_map[f"{block}/attention/(query|attention_output)/kernel"] = ("model", None, None)
    if architecture["num_key_value_heads"] % device_mesh.devices.size == 0:
        layout_map[f"{block}/attention/(key|value)/kernel"] = ("model", None, None)
    layout_map[f"{block}/ffw_gating(_2)?/kernel"] = (None, "model")
    layout_map[f"{block}/ffw_linear/kernel"] = ("model", None)
    return layout_map
