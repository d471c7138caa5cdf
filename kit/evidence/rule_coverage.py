"""Rule coverage: the variables that each rule of a layout map matches, and bytes per device."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import keras

from kit.errors import UserError
from kit.formatting import format_tuple
from kit.models.weightless import VariableInfo

#: For each dimension of a variable a mesh axis or None.
Spec = tuple[str | None, ...]


@dataclass(frozen=True)
class RuleMatch:
    """A rule of a layout map, and the variables that it matches."""

    #: The key in the layout map: a path, or a regular expression.
    pattern: str
    spec: Spec
    paths: tuple[str, ...]
    #: Bytes of these variables, each counted once.
    nbytes: int
    #: Layers whose outputs it shards: in a step, Keras asks for ``<path of the layer>/output``.
    outputs: tuple[str, ...] = ()

    @property
    def idle(self) -> bool:
        """Whether it matches no variable and, as far as the layers are known, no output."""
        return not self.paths and not self.outputs


@dataclass(frozen=True)
class Indivisible:
    """A dimension that the axis of its rule does not divide."""

    path: str
    shape: tuple[int, ...]
    dimension: int
    axis: str
    axis_size: int


@dataclass(frozen=True)
class Misfit:
    """A spec that does not fit a variable: more entries than dimensions, or one axis twice."""

    path: str
    shape: tuple[int, ...]
    spec: Spec


@dataclass(frozen=True)
class RuleCoverage:
    """The effect of a layout map on the variables of a model."""

    rules: tuple[RuleMatch, ...]
    #: Variables that no rule matches. They are replicated.
    unmatched: tuple[VariableInfo, ...]
    #: Paths that several patterns match, each with its patterns. Keras refuses such a layout map.
    overlaps: tuple[tuple[str, tuple[str, ...]], ...]
    indivisible: tuple[Indivisible, ...]
    #: Bytes of all variables, each counted once.
    nbytes: int
    nbytes_per_device: int
    misfits: tuple[Misfit, ...] = ()
    #: Replicated variables: no rule matches them, or one whose axes have a single device.
    replicated: tuple[VariableInfo, ...] = ()
    #: Paths of the layers; None if only variables are known.
    layers: tuple[str, ...] | None = None

    @property
    def nbytes_unmatched(self) -> int:
        """Bytes of the variables that no rule matches."""
        return sum(variable.nbytes for variable in self.unmatched)

    @property
    def nbytes_replicated(self) -> int:
        """Bytes of the replicated variables, each counted once."""
        return sum(variable.nbytes for variable in self.replicated)


def rule_coverage(layout_map: keras.distribution.LayoutMap, variables: Sequence[VariableInfo]) -> RuleCoverage:
    """Apply the layout map to each variable of a model, as Keras does.

    The variables of a :class:`kit.models.weightless.DescribedModel` come with the paths of its
    layers, to whose outputs the layout map is applied, too.
    """
    mesh = layout_map.device_mesh
    sizes = dict(zip(mesh.axis_names, mesh.shape, strict=True))
    # A pattern is a key of the map, and Keras looks up keys before it tries patterns.
    specs: dict[str, Spec] = {pattern: tuple(layout_map[pattern].axes) for pattern in layout_map}
    matching = list(zip(variables, _matching_patterns(layout_map, [one.path for one in variables]), strict=True))
    layers: tuple[str, ...] | None = getattr(variables, "layers", None)
    outputs = _matching_patterns(layout_map, [f"{layer}/output" for layer in layers or ()])
    sharded = [(layer, found) for layer, found in zip(layers or (), outputs, strict=True) if found]
    applied = [(variable, specs[found[0]] if found else ()) for variable, found in matching]
    shards = [(variable, math.prod(sizes[axis] for axis in spec if axis is not None)) for variable, spec in applied]
    return RuleCoverage(
        rules=tuple(
            _rule_match(
                pattern,
                spec,
                [variable for variable, found in matching if pattern in found],
                [layer for layer, found in sharded if pattern in found],
            )
            for pattern, spec in specs.items()
        ),
        unmatched=tuple(variable for variable, found in matching if not found),
        overlaps=tuple((variable.path, tuple(found)) for variable, found in matching if len(found) > 1),
        indivisible=tuple(uneven for variable, spec in applied for uneven in _indivisible(variable, spec, sizes)),
        nbytes=sum(variable.nbytes for variable in variables),
        nbytes_per_device=math.ceil(sum(variable.nbytes / count for variable, count in shards)),
        misfits=tuple(Misfit(one.path, one.shape, spec) for one, spec in applied if not _fits(one, spec)),
        replicated=tuple(variable for variable, count in shards if count == 1),
        layers=layers,
    )


def _matching_patterns(layout_map: keras.distribution.LayoutMap, paths: Sequence[str]) -> list[list[str]]:
    """For each path the patterns that match it, or the path alone if that is a key of the map.

    Keras itself interprets each pattern, in a layout map with this one rule: Keras 3.14 changed
    from ``re.search`` to ``re.fullmatch``.
    """
    single = {}
    for pattern in layout_map:
        single[pattern] = keras.distribution.LayoutMap(layout_map.device_mesh)
        single[pattern][pattern] = layout_map[pattern]
    return [
        [path] if path in single else [pattern for pattern, one in single.items() if one[path] is not None]
        for path in paths
    ]


def _rule_match(pattern: str, spec: Spec, variables: Sequence[VariableInfo], outputs: Sequence[str]) -> RuleMatch:
    paths = tuple(variable.path for variable in variables)
    return RuleMatch(pattern, spec, paths, sum(variable.nbytes for variable in variables), tuple(outputs))


def _indivisible(variable: VariableInfo, spec: Spec, sizes: Mapping[str, int]) -> list[Indivisible]:
    return [
        Indivisible(variable.path, variable.shape, dimension, axis, sizes[axis])
        for dimension, axis in enumerate(spec[: len(variable.shape)])
        if axis is not None and variable.shape[dimension] % sizes[axis]
    ]


def _fits(variable: VariableInfo, spec: Spec) -> bool:
    named = [axis for axis in spec if axis is not None]
    return len(spec) <= len(variable.shape) and len(set(named)) == len(named)


class LayoutError(UserError):
    """A layout map that Keras cannot use for a model and a mesh."""


def check_coverage(coverage: RuleCoverage, mesh: Sequence[int]) -> None:
    """Raises LayoutError, with the first variable, for a layout map that Keras would refuse."""
    if coverage.overlaps:
        path, patterns = coverage.overlaps[0]
        raise LayoutError(
            f"The layout map has {len(patterns)} rules for {path}: {', '.join(patterns)}. Keras allows at most one."
        )
    if coverage.misfits:
        misfit = coverage.misfits[0]
        raise LayoutError(
            f"The layout map's spec {format_tuple(misfit.spec)} does not fit {misfit.path}, of shape "
            f"{format_tuple(misfit.shape)} ({len(coverage.misfits)} such variables)."
        )
    if coverage.indivisible:
        first = coverage.indivisible[0]
        raise LayoutError(
            f"--mesh {'x'.join(map(str, mesh))}: dimension {first.dimension} of {first.path}, of shape "
            f"{format_tuple(first.shape)}"
            f", has {first.shape[first.dimension]} entries, which the {first.axis_size} devices of the axis "
            f'"{first.axis}" do not divide ({len(coverage.indivisible)} such variables): choose a mesh whose '
            f'"{first.axis}" axis divides it.'
        )
