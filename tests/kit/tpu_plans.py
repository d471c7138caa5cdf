"""Parts and layouts for tests of plans."""

from collections.abc import Callable
from typing import Any

import keras
import pytest

from kit.course.shared import tpu_step as tpu
from kit.course.shared.tensor_parallel import small_config
from kit.tpu.step import StepParts

#: conftest.py skips these tests without libtpu.
needs_libtpu = pytest.mark.libtpu
#: Few blocks, and dimensions that 8 devices divide: it compiles for a TPU in 2 s.
SMALL = small_config(num_layers=4)
RIGHT = tpu.right_parts()


def with_layout(change: Callable[[keras.distribution.LayoutMap], Any]) -> StepParts:
    """The right parts with a change of their layout map."""

    def make(mesh: keras.distribution.DeviceMesh) -> keras.distribution.LayoutMap:
        layout_map = keras.distribution.LayoutMap(mesh)
        layout_map["token_embedding/embeddings"] = ("model", None)
        layout_map[".*/(query|key|value|attention_output)/kernel"] = ("model", None, None)
        layout_map[".*/ffw_gating(_2)?/kernel"] = (None, "model")
        layout_map[".*/ffw_linear/kernel"] = ("model", None)
        change(layout_map)
        return layout_map

    return StepParts(make, RIGHT.enable_lora, RIGHT.compile_for_finetuning)


def turned(layout_map: keras.distribution.LayoutMap) -> None:
    del layout_map[".*/ffw_linear/kernel"]
    layout_map[".*/ffw_linear/kernel"] = (None, "model")
