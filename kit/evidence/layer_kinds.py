"""Kinds of layers: the paths of a model's repeated layers, with N for their numbers."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_NUMBERED = re.compile(r"^(?P<stem>.*?)(?P<separator>_?)(?P<number>\d+)$")


#: A layer's own name and those around it.
_Layer = tuple[str, ...]


@dataclass(frozen=True)
class LayerKinds:
    """Replaces the numbers of repeated layers in paths, as ``decoder_block_N/ffw_linear/kernel``.

    A layer that has layers of its own is repeated if its name ends in a number. One without, such
    as the ``dense_3`` of a flat model, is repeated if all that are named like it, in the same
    layer, have variables of the same shapes, and more than one has a number. So Gemma's
    ``ffw_gating_2`` is not.

    Keras counts unnamed layers through the whole model: ``block_1/dense_2`` is to ``block_1`` what
    ``block_0/dense`` is to ``block_0``. Within repeated layers they get the
    numbers that they would have in the first.
    """

    #: Layer with a number -> its name without.
    names: Mapping[_Layer, str]
    #: How many layers with layers of their own the most repeated kind has; 0 without one.
    blocks: int

    @classmethod
    def of(cls, variables: Iterable[tuple[str, tuple[int, ...]]]) -> "LayerKinds":
        """The kinds of a model's layers, by the path and the shape of each variable."""
        found = _Repeated(variables)
        return cls(found.names, found.blocks)

    def __call__(self, path: str) -> str:
        """The path of a variable or a layer, without the numbers of repeated layers."""
        return _without_numbers(path, self.names)


class _Repeated:
    """Finds the repeated layers of a model."""

    def __init__(self, variables: Iterable[tuple[str, tuple[int, ...]]]) -> None:
        self._inside: dict[_Layer, set[tuple[_Layer, tuple[int, ...]]]] = defaultdict(set)
        for path, shape in variables:
            names = tuple(path.split("/"))
            for length in range(1, len(names)):
                self._inside[names[:length]].add((names[length:], shape))
        self.names: dict[_Layer, str] = {}
        self.blocks = 0
        # A layer's kind depends on the kinds of those around it.
        for depth in range(1, max(map(len, self._inside), default=0) + 1):
            for (_, stem), by_parent in self._groups(depth).items():
                if len({frozenset(layer[-1] for layer in layers) for layers in by_parent.values()}) == 1:
                    for layers in by_parent.values():
                        self._name_repeated(stem, layers)
                else:
                    self._renumber(stem, by_parent)

    def _groups(self, depth: int) -> dict[tuple[str, str], dict[_Layer, list[_Layer]]]:
        """(kind of the layer around, name without number) -> layer around -> layers."""
        found: dict[tuple[str, str], dict[_Layer, list[_Layer]]] = defaultdict(lambda: defaultdict(list))
        for layer in self._inside:
            if len(layer) == depth:
                match, around = _NUMBERED.match(layer[-1]), layer[:-1]
                found[_without_numbers("/".join(around), self.names), match["stem"] if match else layer[-1]][
                    around
                ].append(layer)
        return found

    def _name_repeated(self, stem: str, layers: list[_Layer]) -> None:
        """Replace the numbers of layers that are repeated in the layer around them."""
        matches = [match for layer in layers if (match := _NUMBERED.match(layer[-1]))]
        if not matches:
            return
        alike = len({frozenset(self._inside[layer]) for layer in layers}) == 1
        if all(any(len(names) > 1 for names, _ in self._inside[layer]) for layer in layers):
            # The first of Keras' own names, such as "block", "block_1", has no number.
            repeated = layers if alike else [layer for layer in layers if layer[-1] != stem]
            self.blocks = max(self.blocks, len(repeated))
        else:
            repeated = layers if alike and len(matches) > 1 else []
        self.names.update(dict.fromkeys(repeated, f"{stem}{matches[0]['separator']}N"))

    def _renumber(self, stem: str, by_parent: Mapping[_Layer, list[_Layer]]) -> None:
        """Give layers within repeated layers the numbers that they would have in the first."""
        for layers in by_parent.values():
            for place, layer in enumerate(sorted(layers, key=_number)):
                self.names[layer] = f"{stem}_{place}" if place else stem


def _without_numbers(path: str, names: Mapping[_Layer, str]) -> str:
    parts = tuple(path.split("/"))
    return "/".join(names.get(parts[: place + 1], part) for place, part in enumerate(parts))


def _number(layer: _Layer) -> int:
    match = _NUMBERED.match(layer[-1])
    return int(match["number"]) if match else 0
