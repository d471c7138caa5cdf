"""Kinds of layers: the paths of a model's repeated layers, with N for their numbers."""

import re
from collections import defaultdict
from collections.abc import Iterable

_NUMBERED = re.compile(r"^(?P<stem>.*?)(?P<separator>_?)(?P<number>\d+)$")


class LayerKinds:
    """Replaces the numbers of repeated layers in paths, as ``decoder_block_N/ffw_linear/kernel``.

    A layer that has layers of its own is repeated if its name ends in a number. One without, such
    as the ``dense_3`` of a flat model, is repeated if all that are named like it, in the same
    layer, have variables of the same shapes, and more than one has a number. So Gemma's
    ``ffw_gating_2`` is not.
    """

    def __init__(self, variables: Iterable[tuple[str, tuple[int, ...]]]) -> None:
        """Take the path and the shape of each variable of the model."""
        inside: dict[tuple[str, ...], set[tuple[tuple[str, ...], tuple[int, ...]]]] = defaultdict(set)
        for path, shape in variables:
            names = tuple(path.split("/"))
            for length in range(1, len(names)):
                inside[names[:length]].add((names[length:], shape))
        alike_names: dict[tuple[tuple[str, ...], str], list[tuple[str, ...]]] = defaultdict(list)
        for layer in inside:
            match = _NUMBERED.match(layer[-1])
            alike_names[layer[:-1], match["stem"] if match else layer[-1]].append(layer)
        self._names: dict[tuple[str, ...], str] = {}
        #: How many layers with layers of their own the most repeated kind has; 0 without one.
        self.blocks = 0
        for (_, stem), layers in alike_names.items():
            matches = [match for layer in layers if (match := _NUMBERED.match(layer[-1]))]
            if not matches:
                continue
            separator = matches[0]["separator"]
            alike = len({frozenset(inside[layer]) for layer in layers}) == 1
            if all(any(len(names) > 1 for names, _ in inside[layer]) for layer in layers):
                # The first of Keras' own names, such as "block", "block_1", has no number.
                repeated = layers if alike else [layer for layer in layers if layer[-1] != stem]
                self.blocks = max(self.blocks, len(repeated))
            else:
                repeated = layers if alike and len(matches) > 1 else []
            self._names.update(dict.fromkeys(repeated, f"{stem}{separator}N"))

    def __call__(self, path: str) -> str:
        """The path of a variable or a layer, without the numbers of repeated layers."""
        names = tuple(path.split("/"))
        return "/".join(self._names.get(names[: place + 1], name) for place, name in enumerate(names))
