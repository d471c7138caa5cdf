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
        exact = [key for key in layout_map if key == path]
        found[path] = exact or [key for key in layout_map if re.compile(key).fullmatch(path) is not None]
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
    deciding, ambiguous = set(), []
    for path, keys in rules.items():
        deciding.update(keys)
        if keys[1:]:
            ambiguous.append(path)
    idle = sorted(set(layout_map) - deciding)
    for cause, names in (("rule without effect", idle), ("two rules", ambiguous)):
        if names:
            found[cause] = names
    mesh = layout_map.device_mesh
    size_of = {None: 1} | {name: int(size) for name, size in zip(mesh.axis_names, mesh.shape)}
    least = {"embeddings": 0, "query": 0, "key": 0, "value": 0, "attention_output": 0, "ffw_linear": 0}
    least |= {"ffw_gating": 1, "ffw_gating_2": 1}


    def verdict(path: str, shape: tuple[int, ...]) -> str | None:
        spec = layout_map[rules[path][0]].axes if rules[path] else ()
        if len(spec) > len(shape):
            return "does not fit"
        if [1 for axis, length in zip(spec, shape) if length % size_of[axis]]:
            return "does not fit"
        *parents, last = path.split("/")
        if last.startswith("lora_"):
            return None
        split = {place for place, axis in enumerate(spec) if axis is not None}
        wanted = {least[parents[-1] if last == "kernel" else last]} if last in ("kernel", "embeddings") else set()
        if last == "kernel" and parents[-1] in ("key", "value") and shape[0] % size_of["model"]:
            wanted = set()
        if wanted and not split:
            return "replicated"
        return "costly dimension" if split != wanted else None


    for path, shape in shapes.items():
        if len(rules[path]) < 2 and (cause := verdict(path, tuple(shape))):
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
    causes: dict[str, list[str]] = {}
    for path in sorted(set(trained) | set(moments)):
        if path not in trained:
            cause = "of a frozen variable"
        elif not len(moments.get(path, ())):
            cause = "without moments"
        else:
            value = trained[path]
            same = [value.sharding.is_equivalent_to(moment.sharding, len(value.shape)) for moment in moments[path]]
            if all(same):
                continue
            cause = "placed unlike its variable"
        causes.setdefault(cause, []).append(path)
    return causes


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
    model = device_mesh.shape[list(device_mesh.axis_names).index("model")]
    query, shared = architecture["num_query_heads"], architecture["num_key_value_heads"]
    inner = architecture["intermediate_dim"] // 2
    block = r"decoder_block_\d+/"
    table = [
        (r"token_embedding/embeddings", architecture["vocabulary_size"], ("model",)),
        (block + r"attention/query/kernel", query, ("model",)),
        (block + r"attention/key/kernel", shared, ("model",)),
        (block + r"attention/value/kernel", shared, ("model",)),
        (block + r"attention/attention_output/kernel", query, ("model",)),
        (block + r"ffw_gating/kernel", inner, (None, "model")),
        (block + r"ffw_gating_2/kernel", inner, (None, "model")),
        (block + r"ffw_linear/kernel", inner, ("model",)),
    ]
    layout_map.update({pattern: spec for pattern, length, spec in table if length % model == 0})
    return layout_map
