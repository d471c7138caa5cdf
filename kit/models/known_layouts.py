"""Layout maps and the models that they are for."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import keras

from kit.errors import UserError
from kit.evidence.rule_coverage import RuleCoverage
from kit.narrator import as_tuple

#: Path of a variable, with "decoder_block_N" for all blocks -> a mesh axis or None for each dimension.
Layout = Mapping[str, tuple[str | None, ...]]

#: Preset -> mesh -> the layout that was chosen, and what it was chosen from; nothing where the tutorial's can be used.
LAYOUTS_FILE = Path(__file__).parent / "layouts.json"


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


def layout_function(layout: Layout) -> Callable[[keras.distribution.DeviceMesh], keras.distribution.LayoutMap]:
    """A function that makes the layout map of a layout for any mesh with its axes."""

    def make(device_mesh: keras.distribution.DeviceMesh) -> keras.distribution.LayoutMap:
        layout_map = keras.distribution.LayoutMap(device_mesh)
        for path, spec in layout.items():
            # What is held whole needs no rule.
            if any(spec):
                layout_map[path.replace("decoder_block_N", r"decoder_block_\d+")] = tuple(spec)
        return layout_map

    return make


def layout_of(
    preset: str, mesh: tuple[int, int]
) -> Callable[[keras.distribution.DeviceMesh], keras.distribution.LayoutMap] | None:
    """The layout that was found for a model with fewer heads than the mesh's model axis has devices.

    None where the axis divides the heads, so that the tutorial's layout will do, and where none was looked for.
    `kit dev layouts` makes the file.
    """
    entry = json.loads(LAYOUTS_FILE.read_text()).get(preset, {}).get(f"{mesh[0]}x{mesh[1]}")
    if not entry or not entry["enumerated"]:
        return None
    return layout_function({path: tuple(spec) for path, spec in entry["layout"].items()})
