"""Loading, generation and training of tiny presets of each family, on meshes and without one."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np
import pytest
from tiny_presets import SIZES, write_tiny_preset

from kit.models.presets import find_preset
from kit.models.preprocessor import preprocess_one_at_a_time
from kit.models.sharded_loading import load_slice_by_slice
from kit.parts.implementation import find_parts
from kit.reference import checkpoint, generation, lora, mesh, training
from kit.run.layouts import choose_layout
from kit.run.loading import load_model

#: Longer than the sliding windows of all families.
LENGTH = 32
TEXTS = [
    f"The {subject} of this film was {word}, and I would watch it again, if only for the music of its second half."
    for subject in ("plot", "cast", "script", "ending")
    for word in ("dull", "great", "odd", "so-so")
]
BATCHES = [TEXTS[:8], TEXTS[8:]]
#: Where experts are chosen by the largest of close numbers, rounding would choose.
ROUTER_MARGIN = 1e-3

#: In the default layers one mesh for each family; the others are long.
QUICK = {"gemma": (2, 4), "gemma2": (2, 4), "gemma3": (1, 8), "gemma4": (2, 4), "gemma4_moe": (1, 8), "gemma4_e2b": (8, 1)}
CASES = [
    pytest.param(family, shape, marks=() if QUICK[family] == shape else pytest.mark.long)
    for family in SIZES
    for shape in ((1, 8), (2, 4), (8, 1))
]


@pytest.fixture(scope="module")
def presets(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A function that returns the folder of a family's preset, which is written once."""
    folder, written = tmp_path_factory.mktemp("presets"), {}

    def folder_of(family: str) -> Path:
        return written.setdefault(family, None) or written.update(
            {family: write_tiny_preset(family, folder / family)}
        ) or written[family]

    return folder_of
