"""Rule coverage: what each rule of a layout map matches, what none matches, and what a device then holds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import keras

from kit.errors import UserError
from kit.models.weightless import VariableInfo
from kit.narrator import as_tuple

#: A mesh axis, or None, for each dimension of a variable.
Spec = tuple[str | None, ...]


@dataclass(frozen=True)
class RuleMatch:
    """One rule of a layout map and what it matches."""

    #: The key in the layout map: a path, or a regular expression.
    pattern: str
    spec: Spec
    #: The variables that it matches.
    paths: tuple[str, ...]
    #: Bytes of these variables, each counted once, on however many devices.
    nbytes: int


@dataclass(frozen=True)
class Indivisible:
    """A dimension that cannot be split as its rule says."""

    path: str
    shape: tuple[int, ...]
    dimension: int
    axis: str
    axis_size: int


@dataclass(frozen=True)
class Misfit:
    """A spec that is no spec for a variable: it has more entries than the variable dimensions, or one axis twice.

    Fewer entries are none: what is not named is not split.
    """

    path: str
    shape: tuple[int, ...]
    spec: Spec


@dataclass(frozen=True)
class RuleCoverage:
    """What a layout map does to a model."""

    rules: tuple[RuleMatch, ...]
    #: Variables that no rule matches: each device holds a copy.
    unmatched: tuple[VariableInfo, ...]
    #: Variables that more than one regular expression matches, with these; Keras refuses them.
    overlaps: tuple[tuple[str, tuple[str, ...]], ...]
    indivisible: tuple[Indivisible, ...]
    #: Bytes of all variables, each counted once.
    nbytes: int
    #: Bytes that one device holds.
    nbytes_per_device: int
    misfits: tuple[Misfit, ...] = ()
    #: Variables that each device holds whole: no rule matches them, or one whose axes have one device.
    replicated: tuple[VariableInfo, ...] = ()

    @property
    def nbytes_unmatched(self) -> int:
        """Bytes of the variables that no rule matches."""
        return sum(variable.nbytes for variable in self.unmatched)

    @property
    def nbytes_replicated(self) -> int:
        """Bytes of the variables that each device holds whole, each counted once."""
        return sum(variable.nbytes for variable in self.replicated)


def rule_coverage(layout_map: keras.distribution.LayoutMap, variables: Sequence[VariableInfo]) -> RuleCoverage:
    """Ask the layout map about each variable, as Keras would.

    Whether a rule matches is answered by a layout map that holds this rule alone, so that it is Keras' own reading of the
    pattern, which changed with Keras 3.14 (from ``re.search`` to ``re.fullmatch``).

    Args:
        layout_map: With its device mesh.
        variables: All variables of the model.

    """
    alone = {}
    for pattern in layout_map:
        alone[pattern] = keras.distribution.LayoutMap(layout_map.device_mesh)
        alone[pattern][pattern] = layout_map[pattern]
    matched: dict[str, list[VariableInfo]] = {pattern: [] for pattern in alone}
    unmatched, overlaps, indivisible, misfits, replicated = [], [], [], [], []
    sizes = dict(zip(layout_map.device_mesh.axis_names, layout_map.device_mesh.shape, strict=True))
    nbytes_per_device = 0.0
    for variable in variables:
        if variable.path in alone:
            patterns = [variable.path]
        else:
            patterns = [pattern for pattern, single in alone.items() if single[variable.path] is not None]
        for pattern in patterns:
            matched[pattern].append(variable)
        if len(patterns) > 1:
            overlaps.append((variable.path, tuple(patterns)))
        if not patterns:
            unmatched.append(variable)
            replicated.append(variable)
            nbytes_per_device += variable.nbytes
            continue
        spec = _spec(layout_map, patterns[0])
        indivisible += [
            Indivisible(variable.path, variable.shape, dimension, axis, sizes[axis])
            for dimension, axis in enumerate(spec[: len(variable.shape)])
            if axis is not None and variable.shape[dimension] % sizes[axis]
        ]
        named = [axis for axis in spec if axis is not None]
        if len(spec) > len(variable.shape) or len(set(named)) < len(named):
            misfits.append(Misfit(variable.path, variable.shape, spec))
        parts = math.prod(sizes[axis] for axis in named)
        if parts == 1:
            replicated.append(variable)
        nbytes_per_device += variable.nbytes / parts
    return RuleCoverage(
        rules=tuple(
            RuleMatch(
                pattern,
                _spec(layout_map, pattern),
                tuple(variable.path for variable in found),
                sum(variable.nbytes for variable in found),
            )
            for pattern, found in matched.items()
        ),
        unmatched=tuple(unmatched),
        overlaps=tuple(overlaps),
        indivisible=tuple(indivisible),
        nbytes=sum(variable.nbytes for variable in variables),
        nbytes_per_device=math.ceil(nbytes_per_device),
        misfits=tuple(misfits),
        replicated=tuple(replicated),
    )


def _spec(layout_map: keras.distribution.LayoutMap, pattern: str) -> Spec:
    # A pattern is a key of the map, and keys are looked up before any pattern is tried.
    return tuple(layout_map[pattern].axes)


class LayoutError(UserError):
    """A layout map that cannot be used on a model and a mesh."""


def check_coverage(coverage: RuleCoverage, mesh: tuple[int, int]) -> None:
    """Refuse a layout map that Keras would refuse.

    Raises:
        LayoutError: with the first variable that it cannot be used on.

    """
    if coverage.overlaps:
        path, patterns = coverage.overlaps[0]
        raise LayoutError(
            f"The layout map has {len(patterns)} rules for {path}: {', '.join(patterns)}; Keras takes one at most."
        )
    if coverage.misfits:
        misfit = coverage.misfits[0]
        raise LayoutError(
            f"The layout map's spec {as_tuple(misfit.spec)} does not fit {misfit.path}, of shape {as_tuple(misfit.shape)} "
            f"({len(coverage.misfits)} such variables)."
        )
    if coverage.indivisible:
        first = coverage.indivisible[0]
        raise LayoutError(
            f"--mesh {mesh[0]}x{mesh[1]}: dimension {first.dimension} of {first.path}, of shape {as_tuple(first.shape)}, has "
            f'{first.shape[first.dimension]} entries, which the {first.axis_size} devices of the axis "{first.axis}" do not '
            f'divide ({len(coverage.indivisible)} such variables); choose a mesh whose "{first.axis}" axis divides it.'
        )
