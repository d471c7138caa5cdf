"""Layouts for models with fewer heads than the mesh's model axis has devices."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import keras

#: Path of a variable, with "decoder_block_N" for all blocks -> a mesh axis or None for each
#: dimension.
Layout = Mapping[str, tuple[str | None, ...]]

#: Preset -> mesh -> the chosen layout and the candidates. Without candidates the tutorial's layout
#: fits.
LAYOUTS_FILE = Path(__file__).parent / "layouts.json"


def layout_map_function(layout: Layout) -> Callable[[keras.distribution.DeviceMesh], keras.distribution.LayoutMap]:
    """A function that makes the layout map of this layout for a mesh."""

    def make(device_mesh: keras.distribution.DeviceMesh) -> keras.distribution.LayoutMap:
        layout_map = keras.distribution.LayoutMap(device_mesh)
        for path, spec in layout.items():
            # A replicated variable needs no rule.
            if any(spec):
                layout_map[path.replace("decoder_block_N", r"decoder_block_\d+")] = tuple(spec)
        return layout_map

    return make


def find_layout(
    preset: str, mesh: tuple[int, int]
) -> Callable[[keras.distribution.DeviceMesh], keras.distribution.LayoutMap] | None:
    """The layout of a model with fewer heads than the mesh's model axis has devices.

    None if the axis divides the heads, so that the tutorial's layout fits, or if no layout was
    searched for. `kit dev layouts` writes the file.
    """
    entry = json.loads(LAYOUTS_FILE.read_text()).get(preset, {}).get(f"{mesh[0]}x{mesh[1]}")
    if not entry or not entry["enumerated"]:
        return None
    return layout_map_function({path: tuple(spec) for path, spec in entry["layout"].items()})
