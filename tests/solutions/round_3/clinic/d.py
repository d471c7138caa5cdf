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
        exact = [key for key in layout_map if key == path]
        found[path] = exact or [key for key in layout_map if re.fullmatch(key, path)]
    return found


def diagnose_layout(
    layout_map: keras.distribution.LayoutMap, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, list[str]]:
    """Return what is wrong with a layout map for a model, and the names that show it.

    The causes, and what names them:

    - "rule without effect": keys that decide no variable.
    - "two rules": paths for which Keras finds several keys. They are in none of the lists below.
    - "does not fit": paths whose spec has more entries than the variable has dimensions, or an
      axis that does not divide its dimension. They are in none of the lists below.
    - "replicated": paths of matrices that no axis splits, and that should be split.
    - "costly dimension": paths of matrices that are split along another dimension than the one
      that costs least, and of scales that are split at all. If the axis "model" does not divide
      the heads of key and value, splitting these is costly, too.

    Adapters cost little: they are only in "two rules" and "does not fit".

    Args:
        layout_map: A layout map over a mesh with axes "batch" and "model".
        shapes: Path and shape of each variable of a Gemma of the first generation, which can have
            LoRA on any layer.

    Returns:
        Cause -> names, in any order. A cause that is not there has no names, or is left out.

    """
    rules = deciding_rules(layout_map, list(shapes))
    found: dict[str, list[str]] = {}
    # Task 2: Add "rule without effect" and "two rules" to `found`.
    unused = set(layout_map)
    found["two rules"] = []
    for path, keys in rules.items():
        unused.difference_update(keys)
        if len(keys) >= 2:
            found["two rules"].append(path)
    found["rule without effect"] = sorted(unused)
    # Task 3: Add "does not fit", "replicated" and "costly dimension" to `found`. For the dimension
    # that costs least see `kit lesson clinic "Where to look"`.
    device_mesh = layout_map.device_mesh
    size_of = {name: size for name, size in zip(device_mesh.axis_names, device_mesh.shape, strict=True)}

    def fits(spec: Sequence[str | None], shape: tuple[int, ...]) -> bool:
        if len(spec) > len(shape):
            return False
        return all(axis is None or size % size_of[axis] == 0 for axis, size in zip(spec, shape))

    def cheapest(path: str, shape: tuple[int, ...]) -> int | None:
        """The dimension to split; None if the variable should be whole."""
        if path.endswith("/scale"):
            return None
        if re.search(r"/(key|value)/kernel$", path):
            return 0 if shape[0] % size_of["model"] == 0 else None
        return 1 if re.search(r"/ffw_gating(_2)?/kernel$", path) else 0

    for path, shape in shapes.items():
        if len(rules[path]) > 1:
            continue
        spec = [axis for key in rules[path] for axis in layout_map[key].axes]
        if not fits(spec, shape):
            found.setdefault("does not fit", []).append(path)
        elif not path.rsplit("/", 1)[-1].startswith("lora_"):
            split = [dimension for dimension, axis in enumerate(spec) if axis is not None]
            target = cheapest(path, shape)
            if any(dimension != target for dimension in split):
                found.setdefault("costly dimension", []).append(path)
            elif target is not None and not split:
                found.setdefault("replicated", []).append(path)
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
    causes = "placed unlike its variable", "of a frozen variable", "without moments"
    found: dict[str, list[str]] = {cause: [] for cause in causes}
    for path in dict.fromkeys([*trained, *moments]):
        if path not in trained:
            found[causes[1]].append(path)
        elif path not in moments:
            found[causes[2]].append(path)
        else:
            home = trained[path].sharding
            for moment in moments[path]:
                if not home.is_equivalent_to(moment.sharding, moment.ndim):
                    found[causes[0]].append(path)
                    break
    return found


def prescribe(
    device_mesh: keras.distribution.DeviceMesh, architecture: Mapping[str, Any]
) -> keras.distribution.LayoutMap:
    """Return the layout map that costs least for a Gemma of the first generation on this mesh.

    With it each patient is healthy: every rule has an effect, and no rule matches an adapter that
    its spec does not fit, on whatever layers LoRA is.

    Args:
        device_mesh: A mesh with axes "batch" and "model". "model" divides the query heads.
        architecture: A backbone's ``get_config()``, such as ``architecture["num_layers"]``.

    """
    layout_map = keras.distribution.LayoutMap(device_mesh)
    # Task 5: Write the rules. Which of them depends on the mesh and on the architecture?
    model = device_mesh.shape[list(device_mesh.axis_names).index("model")]
    by_heads = ["query", "attention_output"]
    if not architecture["num_key_value_heads"] % model:
        by_heads += ["key", "value"]
    specs: dict[str, tuple] = {"token_embedding/embeddings": ("model", None)}
    for layer in by_heads:
        specs[rf"decoder_block_\d+/attention/{layer}/kernel"] = ("model", None, None)
    for layer in ("ffw_gating", "ffw_gating_2"):
        specs[rf"decoder_block_\d+/{layer}/kernel"] = (None, "model")
    specs[r"decoder_block_\d+/ffw_linear/kernel"] = ("model", None)
    for key, spec in specs.items():
        layout_map[key] = spec
    return layout_map
