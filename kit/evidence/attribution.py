"""Collectives of a compiled step, traced to a layer, an operation and a rule of the layout map."""

import math
import re
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kit.evidence.hlo import Instruction, first_group, instructions

_BLOCK = re.compile(r"decoder_block_\d+")
_PARAMETER = re.compile(r"^state\[(\d+)\]\[(\d+)\]$")
#: JAX wraps names of scopes: jvp(x), transpose(jvp(x)), checkpoint and so on.
_AROUND = re.compile(r"^\w+\((.*)\)$")
#: Maximum number of instructions to search backward from a collective that names no layer.
_SEARCH_LIMIT = 400

#: Instead of a rule, if the split of the data causes a collective.
BATCH_RULE = "(the batch is split)"


def without_block_number(path: str) -> str:
    """The path of a variable or a layer with N for the number of its decoder block."""
    return _BLOCK.sub("decoder_block_N", path)


@dataclass(frozen=True)
class Rule:
    """A rule of a layout map."""

    #: Its position in the map, from 1.
    number: int
    pattern: str
    spec: tuple[object, ...]

    def __str__(self) -> str:
        return f"rule {self.number}, {self.pattern}"


@dataclass(frozen=True)
class AttributedCollective:
    """A collective, and what causes it."""

    #: XLA's name, for example "all-reduce".
    kind: str
    #: Bytes of its result on one device.
    nbytes: int
    #: Mesh axes along which the devices exchange data.
    axes: tuple[str, ...]
    group_size: int
    #: The layer that needs it, for example "decoder_block_3/ffw_linear"; None if unknown.
    layer: str | None
    #: The operation, for example "btf,fd->btd/dot_general".
    operation: str
    #: Whether it is in the backward pass.
    backward: bool
    #: The rule that causes it, :data:`BATCH_RULE`, or None if unknown.
    rule: Rule | str | None
    #: The layer without the number of its block.
    layer_kind: str | None


def attribute(
    program_text: str,
    parameters: Sequence[Sequence[str]],
    rules: Iterable[tuple[str, tuple[object, ...], Iterable[str]]],
    layers: Iterable[str],
    axes: Mapping[str, int],
    kind_of: Callable[[str], str] = without_block_number,
    batch_axis: str | None = "batch",
) -> tuple[AttributedCollective, ...]:
    """Trace the collectives of a compiled step to layers and rules.

    Keras writes the names of layers into the program, and XLA keeps them. If a collective has no
    layer, or a layer without a sharded weight, its operands are searched back to the nearest
    computation or parameter that has one. A collective along the batch axis alone is due to the
    data, unless the layer's rule shards a weight over that axis.

    Args:
        program_text: HLO of a step whose first argument is ``state``, a tuple of lists of arrays.
        parameters: For each of these arrays, the path of the variable that it belongs to, or "".
        rules: Pattern, spec and matched paths of each rule.
        layers: Paths of layers, in addition to those of the variables.
        axes: The mesh's axes and sizes, row by row.
        kind_of: The kind of a layer by its path, as :class:`kit.evidence.layer_kinds.LayerKinds`.
        batch_axis: The axis along which the batch is split.
    """
    return _Tracer(program_text, parameters, rules, layers, axes, kind_of, batch_axis).run()


class _Tracer:
    def __init__(
        self,
        program_text: str,
        parameters: Sequence[Sequence[str]],
        rules: Iterable[tuple[str, tuple[object, ...], Iterable[str]]],
        layers: Iterable[str],
        axes: Mapping[str, int],
        kind_of: Callable[[str], str],
        batch_axis: str | None,
    ) -> None:
        self._kind_of = kind_of
        self._batch_axis = batch_axis
        self._instructions = {instruction.name: instruction for instruction in instructions(program_text)}
        self._parameters = parameters
        self._axes = axes
        self._devices = math.prod(axes.values())
        self._rules: dict[str, Rule] = {}
        for number, (pattern, spec, paths) in enumerate(rules, 1):
            if self._splits(spec):
                for path in paths:
                    # By the layer's first sharded weight.
                    self._rules.setdefault(path.rpartition("/")[0], Rule(number, pattern, spec))
        owners = {path.rpartition("/")[0] for group in parameters for path in group if path}
        self._layers = {tuple(layer.split("/")): layer for layer in {*owners, *layers} if layer}
        self._longest = max(map(len, self._layers), default=0)

    def _splits(self, spec: Iterable[object]) -> bool:
        return any(self._axes.get(axis, 1) > 1 for axis in _flat(spec))

    def run(self) -> tuple[AttributedCollective, ...]:
        found = self._instructions.values()
        return tuple(self._attributed(one, one.kind) for one in found if one.kind is not None)

    def _attributed(self, instruction: Instruction, kind: str) -> AttributedCollective:
        group = first_group(instruction.attributes, self._devices)
        axes = self._axes_of(group)
        layer, operation = self._layer_of(instruction)
        rule = self._rules.get(layer or "")
        if rule is None:
            found, rule = self._search(instruction)
            layer = layer or found
        caused: Rule | str | None = rule
        if axes == (self._batch_axis,) and not (rule is not None and self._batch_axis in _flat(rule.spec)):
            caused = BATCH_RULE
        return AttributedCollective(
            kind,
            instruction.nbytes,
            axes,
            len(group),
            layer,
            operation,
            "transpose(" in instruction.op_name,
            caused,
            self._kind_of(layer) if layer else None,
        )

    def _axes_of(self, group: tuple[int, ...]) -> tuple[str, ...]:
        """The axes along which the devices of a group differ."""
        places = np.unravel_index(group, tuple(self._axes.values()))
        return tuple(axis for axis, place in zip(self._axes, places, strict=True) if len({*place.tolist()}) > 1)

    def _layer_of(self, instruction: Instruction) -> tuple[str | None, str]:
        """The innermost layer in the name of an instruction, and the operation within it."""
        parameter = _PARAMETER.match(instruction.op_name)
        if parameter is not None:
            path = self._parameters[int(parameter[1])][int(parameter[2])]
            return path.rpartition("/")[0] or None, "state"
        names = [_innermost(name) for name in instruction.op_name.split("/")]
        for length in range(self._longest, 0, -1):
            for start in range(len(names) - length, -1, -1):
                layer = self._layers.get(tuple(names[start : start + length]))
                if layer is not None:
                    return layer, "/".join(names[start + length :])
        return None, "/".join(names[1:])

    def _search(self, instruction: Instruction) -> tuple[str | None, Rule | None]:
        """The first layer and the first rule of a sharded weight among an instruction's inputs."""
        waiting, seen = deque(instruction.operands), set(instruction.operands)
        first: str | None = None
        for _ in range(_SEARCH_LIMIT):
            if not waiting:
                break
            found = self._instructions.get(waiting.popleft())
            if found is None:
                continue
            layer = self._layer_of(found)[0]
            first = first or layer
            if layer in self._rules:
                return first, self._rules[layer]
            new = [name for name in found.operands if name not in seen]
            seen.update(new)
            waiting.extend(new)
        return first, None


def _innermost(name: str) -> str:
    while (match := _AROUND.match(name)) is not None:
        name = match[1]
    return name


def _flat(spec: Iterable[object]) -> list[str]:
    return [str(axis) for axes in spec if axes is not None for axis in (axes if isinstance(axes, tuple) else (axes,))]


@dataclass(frozen=True)
class Cause:
    """Collectives of one kind that one rule causes in one kind of layer."""

    #: None if they could not be traced.
    rule: Rule | str | None
    layer_kind: str | None
    kind: str
    count: int
    nbytes: int


def causes(attributed: Iterable[AttributedCollective]) -> tuple[Cause, ...]:
    """Collectives by rule, kind of layer and kind; the most bytes first."""
    found: dict[tuple[Rule | str | None, str | None, str], list[int]] = defaultdict(list)
    for collective in attributed:
        found[collective.rule, collective.layer_kind, collective.kind].append(collective.nbytes)
    made = [Cause(*key, len(nbytes), sum(nbytes)) for key, nbytes in found.items()]
    return tuple(sorted(made, key=lambda cause: -cause.nbytes))
