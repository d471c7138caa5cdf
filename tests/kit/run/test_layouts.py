"""Whose layout a run takes."""

import types
from pathlib import Path

import keras
import pytest

from kit.course.shared.tensor_parallel import small_config
from kit.models.architectures import ARCHITECTURES
from kit.parts.implementation import REFERENCE, find_parts
from kit.run.layouts import choose_layout

ONE_HEAD = ARCHITECTURES["gemma_2b_en"]
STUB = """def gemma_layout_map(device_mesh):
    raise NotImplementedError("layout, task 1")
"""
OWN = """import keras
def gemma_layout_map(device_mesh):
    layout_map = keras.distribution.LayoutMap(device_mesh)
    layout_map["token_embedding/embeddings"] = (None, "model")
    return layout_map
"""


class TestChooseLayout:
    def test_the_tutorials_where_it_fits(self) -> None:
        parts = find_parts(REFERENCE)
        for config, mesh in ((ARCHITECTURES["gemma_7b_en"], (1, 8)), (small_config(), (2, 4)), (ONE_HEAD, (8, 1))):
            chosen = choose_layout(parts, config, mesh)
            assert chosen.make is parts.layout.gemma_layout_map
            assert not chosen.sentence

    def test_the_one_that_was_found_where_it_does_not(self, devices: list[str]) -> None:
        chosen = choose_layout(find_parts(REFERENCE), ONE_HEAD, (1, 8))
        assert "does not divide 1 key/value head by 8" in chosen.sentence
        layout_map = chosen.make(keras.distribution.DeviceMesh((1, 8), ["batch", "model"], devices))
        assert layout_map["decoder_block_3/attention/key/kernel"] is None

    @pytest.mark.parametrize("is_open", [False, True])
    def test_a_users_own_is_respected(self, tmp_path: Path, devices: list[str], is_open: bool) -> None:
        text = STUB if is_open else OWN
        (tmp_path / "layout.py").write_text(text)
        parts = find_parts(str(tmp_path), filled=True)
        chosen = choose_layout(parts, ONE_HEAD, (1, 8))
        # An open task is taken from the reference, and so replaced.
        assert bool(chosen.sentence) == is_open
        if not is_open:
            layout_map = chosen.make(keras.distribution.DeviceMesh((1, 8), ["batch", "model"], devices))
            assert list(layout_map) == ["token_embedding/embeddings"]
            assert isinstance(chosen.make, types.FunctionType)
