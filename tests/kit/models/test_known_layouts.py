"""Layouts that were found for models with few heads."""

import json

import pytest

from kit.course.shared.tensor_parallel import TENSOR_PARALLEL
from kit.dev.layout_search import candidates, needs_a_search
from kit.models.architectures import ARCHITECTURES
from kit.models.known_layouts import LAYOUTS_FILE, find_layout
from kit.models.weightless import weightless_variables

LAYOUTS = json.loads(LAYOUTS_FILE.read_text())


class TestLayouts:
    @pytest.mark.parametrize(("preset", "mesh"), [(preset, mesh) for preset in LAYOUTS for mesh in LAYOUTS[preset]])
    def test_the_chosen_one_sends_least(self, preset: str, mesh: str) -> None:
        entry = LAYOUTS[preset][mesh]
        config = ARCHITECTURES[preset]
        batch, model = map(int, mesh.split("x"))
        assert bool(entry["enumerated"]) == needs_a_search(config, model)
        if entry["enumerated"]:
            enumerated = [{name: one[name] for name in entry["choice"]} for one in entry["enumerated"]]
            assert enumerated == [dict(candidate.choice) for candidate in candidates(config, model)]
            best = min(entry["enumerated"], key=lambda one: (one["collective_bytes"], one["argument_bytes"]))
            assert {name: best[name] for name in entry["choice"]} == entry["choice"]
        else:
            # The same specs as in the checks of the course.
            for path, spec in entry["layout"].items():
                assert tuple(spec) == TENSOR_PARALLEL[path.removeprefix("decoder_block_N/")]
        shapes = {
            variable.path.replace("decoder_block_0", "decoder_block_N"): variable.shape
            for variable in weightless_variables(config, num_layers=1)
        }
        for path, spec in entry["layout"].items():
            assert len(spec) == len(shapes[path])
            assert all(size % model == 0 for size, axis in zip(shapes[path], spec, strict=True) if axis == "model")
        assert (find_layout(preset, (batch, model)) is not None) == bool(entry["enumerated"])

    def test_every_model_with_fewer_heads_has_one(self) -> None:
        for preset in LAYOUTS:
            config = ARCHITECTURES[preset]
            assert LAYOUTS[preset].keys() == {"1x8", "2x4", "4x2", "1x4", "2x2"}
            for batch, model in ((1, 8), (2, 4), (4, 2), (1, 4), (2, 2)):
                assert (find_layout(preset, (batch, model)) is not None) == needs_a_search(config, model)
