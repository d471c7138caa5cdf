"""Layouts for models that the tutorial's layout does not fit.

The tutorial splits attention by heads, and knows neither experts nor per-layer embeddings. A model
with grouped-query attention has fewer key and value heads than the mesh's model axis may have
devices, and Gemma 4 has other numbers of heads in its blocks with global attention.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import keras

from kit.models.architectures import ARCHITECTURES
from kit.models.blocks import BlockKind, block_kinds, with_blocks
from kit.models.weightless import weightless_variables

#: Path of a variable -> a mesh axis or None for each dimension. "decoder_block_N" stands for all
#: blocks, and "decoder_block_N (global attention)" for those of a kind.
Layout: TypeAlias = Mapping[str, tuple[str | None, ...]]
LayoutMapFor: TypeAlias = Callable[[keras.distribution.DeviceMesh], keras.distribution.LayoutMap]

#: Preset -> mesh -> the chosen layout and the candidates. Without candidates the tutorial's layout
#: fits.
LAYOUTS_FILE = Path(__file__).parent / "layouts.json"

#: Choice for a group of kernels that is replicated; the word that ``layouts.json`` has.
WHOLE = "whole"

_ALL_BLOCKS = "decoder_block_N"


@dataclass(frozen=True)
class Group:
    """Matrices that share one choice: the dimension that is split."""

    #: Path, without that of the block -> names of the dimensions.
    matrices: Mapping[str, tuple[str, ...]]
    #: The dimension that is split where the axis divides it.
    natural: str
    #: Whether the tutorial has a rule for these matrices.
    in_tutorial: bool = True


_PROJECTION = ("heads", "hidden", "head dimension")
_FIRST, _SECOND = ("hidden", "intermediate"), ("intermediate", "hidden")

#: The matrices of all Gemma models.
GROUPS: Mapping[str, Group] = {
    "embeddings": Group({"token_embedding/embeddings": ("vocabulary", "hidden")}, "vocabulary"),
    "query": Group({"attention/query/kernel": _PROJECTION}, "heads"),
    "key and value": Group({"attention/key/kernel": _PROJECTION, "attention/value/kernel": _PROJECTION}, "heads"),
    "attention output": Group({"attention/attention_output/kernel": ("heads", "head dimension", "hidden")}, "heads"),
    "feed-forward": Group(
        {"ffw_gating/kernel": _FIRST, "ffw_gating_2/kernel": _FIRST, "ffw_linear/kernel": _SECOND}, "intermediate"
    ),
    "experts": Group(
        {
            "moe_expert_bank/gate_proj": ("experts", *_FIRST),
            "moe_expert_bank/up_proj": ("experts", *_FIRST),
            "moe_expert_bank/down_proj": ("experts", *_SECOND),
        },
        "experts",
        in_tutorial=False,
    ),
    "per-layer embeddings": Group(
        {"per_layer_token_embedding/embeddings": ("vocabulary", "features")}, "vocabulary", in_tutorial=False
    ),
}


#: The groups among which a layout of attention chooses.
ATTENTION = ("query", "key and value", "attention output")

#: What decides the shapes of a Gemma's matrices, besides the number of blocks and the vocabulary.
_SHAPE_SETTINGS = (
    *("num_query_heads", "num_key_value_heads", "hidden_dim", "intermediate_dim", "head_dim"),
    *("global_head_dim", "num_global_key_value_heads", "num_experts", "expert_intermediate_dim"),
    *("hidden_size_per_layer_input", "use_double_wide_mlp"),
)


@dataclass(frozen=True)
class Matrix:
    """A matrix of the model, or of the blocks of one kind."""

    group: str
    #: Without that of the block.
    path: str
    #: Of the block that it belongs to; None outside the blocks.
    kind: BlockKind | None
    #: Name of a dimension -> its size.
    sizes: Mapping[str, int]


def matrices(config: Mapping[str, Any]) -> list[Matrix]:
    """The matrices that a layout may split, once for each kind of block.

    ``config`` is the content of a preset's ``config.json``.
    """
    kinds = tuple(dict.fromkeys(block_kinds(config)))
    shapes = {variable.path: variable.shape for variable in weightless_variables(with_blocks(config, kinds))}
    places: dict[str, BlockKind | None] = {"": None} | {
        f"decoder_block_{number}/": kind for number, kind in enumerate(kinds)
    }
    return [
        Matrix(name, path, kind, dict(zip(dimensions, shapes[place + path], strict=True)))
        for name, group in GROUPS.items()
        for path, dimensions in group.matrices.items()
        for place, kind in places.items()
        if place + path in shapes
    ]


def possible_choices(members: Sequence[Matrix], model_axis: int) -> dict[str, list[str]]:
    """For each group, which dimension can be split.

    The natural one is the only choice if the axis divides it in all matrices. Otherwise the choice
    concerns those matrices in which it does not.
    """
    found: dict[str, list[str]] = {}
    for group in dict.fromkeys(matrix.group for matrix in members):
        odd = _indivisible(members, group, model_axis)
        names = [name for name in odd[0].sizes if _divides(odd, name, model_axis)] if odd else []
        found[group] = [WHOLE, *names] if odd else [GROUPS[group].natural]
    return found


def choose_by_rule(members: Sequence[Matrix], model_axis: int) -> dict[str, str]:
    """For each group the dimension to split, as the search chose it for most models.

    If the axis does not divide the query heads, attention is replicated. Otherwise several key and
    value heads are split within each head if they are at least half as many as the devices of the
    axis; fewer are replicated.
    """
    chosen = {}
    possible = possible_choices(members, model_axis)
    attention_is_split = possible.get("query") == ["heads"]
    for group, names in possible.items():
        heads = [matrix.sizes.get("heads", 0) for matrix in _indivisible(members, group, model_axis)]
        if len(names) == 1:
            chosen[group] = names[0]
        elif group in ATTENTION:
            inner = "head dimension"
            many = all(number > 1 and 2 * number >= model_axis for number in heads)
            split = group == "key and value" and attention_is_split and many and inner in names
            chosen[group] = inner if split else WHOLE
        else:
            # Rather any dimension than a replicated embedding or feed-forward.
            chosen[group] = names[1]
    return chosen


def layout_of(members: Sequence[Matrix], model_axis: int, choice: Mapping[str, str], batch_axis: int = 1) -> Layout:
    """The layout with these choices: the natural dimension wherever the axis divides it.

    With a ``batch_axis`` above 1 another dimension of each matrix is split over the axis "batch";
    if the model axis is 1, it can be the same.
    """
    specs: dict[str, dict[BlockKind | None, tuple[str | None, ...]]] = {}
    for matrix in members:
        natural = GROUPS[matrix.group].natural
        split = choice.get(matrix.group, natural)
        if matrix.sizes[natural] % model_axis == 0 and GROUPS[matrix.group].in_tutorial:
            split = natural
        over_batch = _dimension_over_batch(matrix, split, model_axis, batch_axis)
        if over_batch == split:
            split = ""
        spec = tuple("model" if name == split else "batch" if name == over_batch else None for name in matrix.sizes)
        specs.setdefault(matrix.path, {})[matrix.kind] = spec
    found = {}
    for path, by_kind in specs.items():
        same = len(set(by_kind.values())) == 1
        for kind, spec in by_kind.items():
            found[path if kind is None else f"{_ALL_BLOCKS}{'' if same else f' ({kind.name})'}/{path}"] = spec
    return found


def _dimension_over_batch(matrix: Matrix, split: str, model_axis: int, batch_axis: int) -> str:
    """The dimension to split over the axis "batch"; empty if there is none.

    It is "hidden" where the axis divides that, as in KerasHub's own layout maps, but not for the
    embeddings: then each device has a part of every logit's sum, and all logits are added up over
    the devices, which sends several times what everything else in a step does.
    """
    if batch_axis == 1:
        return ""
    if matrix.group == "embeddings":
        return "vocabulary" if model_axis == 1 and matrix.sizes["vocabulary"] % batch_axis == 0 else ""
    free = [name for name, size in matrix.sizes.items() if name != split and size % batch_axis == 0]
    return min(free, key=lambda name: name != "hidden", default="")


def layout_map_function(layout: Layout, config: Mapping[str, Any]) -> LayoutMapFor:
    """A function that makes the layout map of this layout for a mesh.

    ``config`` is the content of the model's ``config.json``: it decides which blocks are of a kind.
    """
    kinds = block_kinds(config)

    def pattern(path: str) -> str:
        for kind in set(kinds):
            numbers = "|".join(str(number) for number, one in enumerate(kinds) if one == kind)
            path = path.replace(f"{_ALL_BLOCKS} ({kind.name})/", f"decoder_block_({numbers})/")
        return path.replace(_ALL_BLOCKS, r"decoder_block_\d+")

    def make(device_mesh: keras.distribution.DeviceMesh) -> keras.distribution.LayoutMap:
        layout_map = keras.distribution.LayoutMap(device_mesh)
        for path, spec in layout.items():
            # A replicated variable needs no rule.
            if any(spec):
                layout_map[pattern(path)] = tuple(spec)
        return layout_map

    return make


@dataclass(frozen=True)
class FoundLayout:
    """A layout for a model and a mesh that the tutorial's layout does not fit."""

    layout: Layout
    make: LayoutMapFor
    #: Why the tutorial's layout does not fit, and which layout this is.
    sentence: str


def find_layout(config: Mapping[str, Any], mesh: tuple[int, int]) -> FoundLayout | None:
    """The layout of a model on a mesh, where the tutorial's does not fit.

    It is the one that ``layouts.json`` has for a model of these sizes and this axis, which `kit dev
    layouts` writes. For other sizes and axes a rule decides. ``config`` is the content of a
    preset's ``config.json``. Returns None if the tutorial's layout fits, and if the axis divides no
    dimension of a matrix, so that no layout would help.
    """
    members = matrices(config)
    if not (misfits := tutorial_misfits(members, mesh[1])):
        return None
    choice, origin = _choose(config, members, mesh)
    layout = layout_of(members, mesh[1], choice)
    if not any(any(spec) for spec in layout.values()):
        return None
    return FoundLayout(layout, layout_map_function(layout, config), f"the tutorial's layout {misfits}: using {origin}")


def fully_sharded_layout(config: Mapping[str, Any], mesh: tuple[int, int]) -> FoundLayout:
    """The layout that splits each matrix over the axis "batch" as well (FSDP).

    Over the axis "model" matrices are split as without it: as in the tutorial, or as
    :func:`find_layout` finds. ``config`` is the content of a preset's ``config.json``.
    """
    members = matrices(config)
    layout = layout_of(members, mesh[1], _choose(config, members, mesh)[0], batch_axis=mesh[0])
    return FoundLayout(
        layout, layout_map_function(layout, config), 'fully sharded: matrices are split over the axis "batch" as well'
    )


def _choose(
    config: Mapping[str, Any], members: Sequence[Matrix], mesh: tuple[int, int]
) -> tuple[Mapping[str, str], str]:
    """For each group the dimension to split over "model", and where this choice is from."""
    choice, name = choose_by_rule(members, mesh[1]), known_name(config)
    if name and (entry := _entry(name, mesh)):
        return choice | entry["choice"], f"the layout found for {name}"
    return choice, f"one with {_described(members, mesh[1], choice)}"


def tutorial_misfits(members: Sequence[Matrix], model_axis: int) -> str:
    """Why the tutorial's layout does not fit matrices, such as "does not divide 1 key/value head".

    Empty if it fits.
    """
    if model_axis == 1:
        return ""
    numbers, unknown = [], []
    for group in dict.fromkeys(matrix.group for matrix in members):
        if not GROUPS[group].in_tutorial:
            unknown.append(group)
        elif odd := _indivisible(members, group, model_axis):
            numbers.append(_counted(group, odd[0].sizes[GROUPS[group].natural], odd[0].kind))
    said = [f"does not divide {' and '.join(dict.fromkeys(numbers))} by {model_axis}"] if numbers else []
    said += [f"has no rule for {' and '.join(unknown)}"] if unknown else []
    return " and ".join(said)


def known_name(config: Mapping[str, Any]) -> str | None:
    """The entry of ``ARCHITECTURES`` with matrices of the same shapes, if there is one."""
    for name, known in ARCHITECTURES.items():
        # A saved configuration has 0, False or None where another leaves a setting out.
        pairs = [(known["config"].get(setting), config["config"].get(setting)) for setting in _SHAPE_SETTINGS]
        same = all((one or None) == (other or None) for one, other in pairs)
        if same and known["class_name"] == config["class_name"]:
            return name
    return None


def _entry(name: str, mesh: tuple[int, int]) -> dict[str, Any] | None:
    """What ``layouts.json`` has for a model on this mesh, or on one with the same model axis."""
    entries = {shape: one for shape, one in known_layouts().get(name, {}).items() if one["enumerated"]}
    same_axis = [one for shape, one in entries.items() if shape.endswith(f"x{mesh[1]}")]
    return entries.get(f"{mesh[0]}x{mesh[1]}") or next(iter(same_axis), None)


def known_layouts() -> dict[str, dict[str, Any]]:
    """The content of ``layouts.json``."""
    return json.loads(LAYOUTS_FILE.read_text()) if LAYOUTS_FILE.is_file() else {}


def _indivisible(members: Sequence[Matrix], group: str, axis: int) -> list[Matrix]:
    """The matrices of a group whose natural dimension the axis does not divide."""
    natural = GROUPS[group].natural
    return [matrix for matrix in members if matrix.group == group and matrix.sizes[natural] % axis]


def _divides(members: Sequence[Matrix], dimension: str, axis: int) -> bool:
    return not any(matrix.sizes[dimension] % axis for matrix in members)


def _counted(group: str, number: int, kind: BlockKind | None) -> str:
    """Such as "1 key/value head"."""
    of_kind = " of global attention" if kind and kind.is_global else ""
    if group in ("query", "attention output"):
        return f"{number} query head{'' if number == 1 else 's'}{of_kind}"
    if group == "key and value":
        return f"{number} key/value head{'' if number == 1 else 's'}{of_kind}"
    return f"{number} {'tokens of the vocabulary' if group == 'embeddings' else 'intermediate units'}"


def _described(members: Sequence[Matrix], axis: int, choice: Mapping[str, str]) -> str:
    """Such as "key and value replicated"."""
    shown = [group for group in choice if _indivisible(members, group, axis) or not GROUPS[group].in_tutorial]
    words = {group: "replicated" if choice[group] == WHOLE else f"split by {choice[group]}" for group in shown}
    return ", ".join(f"{group} {word}" for group, word in words.items())
