"""Layout maps and the models that they are for."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import keras

#: Path of a variable, with "decoder_block_N" for all blocks -> a mesh axis or None for each dimension.
Layout = Mapping[str, tuple[str | None, ...]]

#: Preset -> mesh -> the layout that was chosen, and what it was chosen from; nothing where the tutorial's can be used.
LAYOUTS_FILE = Path(__file__).parent / "layouts.json"


def layout_map_function(layout: Layout) -> Callable[[keras.distribution.DeviceMesh], keras.distribution.LayoutMap]:
    """A function that makes the layout map of a layout for any mesh with its axes."""

    def make(device_mesh: keras.distribution.DeviceMesh) -> keras.distribution.LayoutMap:
        layout_map = keras.distribution.LayoutMap(device_mesh)
        for path, spec in layout.items():
            # What is held whole needs no rule.
            if any(spec):
                layout_map[path.replace("decoder_block_N", r"decoder_block_\d+")] = tuple(spec)
        return layout_map

    return make


def find_layout(
    preset: str, mesh: tuple[int, int]
) -> Callable[[keras.distribution.DeviceMesh], keras.distribution.LayoutMap] | None:
    """The layout that was found for a model with fewer heads than the mesh's model axis has devices.

    None where the axis divides the heads, so that the tutorial's layout will do, and where none was looked for.
    `kit dev layouts` makes the file.
    """
    entry = json.loads(LAYOUTS_FILE.read_text()).get(preset, {}).get(f"{mesh[0]}x{mesh[1]}")
    if not entry or not entry["enumerated"]:
        return None
    return layout_map_function({path: tuple(spec) for path, spec in entry["layout"].items()})
