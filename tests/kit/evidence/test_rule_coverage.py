"""What the rules of a layout map match, and what a device then holds."""

from typing import Any

import keras
import pytest

from kit.evidence.placement import nbytes_per_device
from kit.evidence.rule_coverage import rule_coverage
from kit.models.presets import BUNDLED_FOLDER, find_preset
from kit.models.weightless import VariableInfo, weightless_variables
from kit.reference.layout import gemma_layout_map
from kit.reference.loading import load_distributed

VARIABLES = [
    VariableInfo("token_embedding/embeddings", (64, 24), "float32", True),
    VariableInfo("decoder_block_0/ffw_gating/kernel", (24, 40), "float32", True),
    VariableInfo("decoder_block_0/ffw_gating_2/kernel", (24, 40), "float32", True),
    VariableInfo("decoder_block_10/ffw_gating_2/kernel", (24, 40), "bfloat16", True),
    VariableInfo("decoder_block_0/norm/scale", (24,), "float32", True),
]


def layout_map(mesh: Any, rules: dict[str, tuple]) -> Any:
    made = keras.distribution.LayoutMap(mesh)
    for pattern, spec in rules.items():
        made[pattern] = spec
    return made


@pytest.mark.spec
class TestRuleCoverage:
    def test_what_each_rule_matches(self, mesh_1x8: Any) -> None:
        coverage = rule_coverage(
            layout_map(
                mesh_1x8,
                {
                    "token_embedding/embeddings": ("model", None),
                    # It matches neither the second matrix nor, since Keras 3.14, a part of a path.
                    "decoder_block.*ffw_gating/kernel": (None, "model"),
                    "ffw_linear": ("model", None),
                },
            ),
            VARIABLES,
        )
        assert [(rule.pattern, len(rule.paths), rule.nbytes) for rule in coverage.rules] == [
            ("token_embedding/embeddings", 1, 64 * 24 * 4),
            ("decoder_block.*ffw_gating/kernel", 1, 24 * 40 * 4),
            ("ffw_linear", 0, 0),
        ]
        assert [variable.path for variable in coverage.unmatched] == [
            "decoder_block_0/ffw_gating_2/kernel",
            "decoder_block_10/ffw_gating_2/kernel",
            "decoder_block_0/norm/scale",
        ]
        replicated = 24 * 40 * 4 + 24 * 40 * 2 + 24 * 4
        assert coverage.nbytes_unmatched == replicated
        assert coverage.nbytes_per_device == (64 * 24 + 24 * 40) * 4 // 8 + replicated
        assert not coverage.overlaps
        assert not coverage.indivisible

    def test_two_rules_for_one_variable(self, mesh_1x8: Any) -> None:
        rules = {".*kernel": (None, "model"), ".*ffw_gating_2/kernel": (None, "model")}
        coverage = rule_coverage(layout_map(mesh_1x8, rules), VARIABLES)
        assert [path for path, _ in coverage.overlaps] == [
            "decoder_block_0/ffw_gating_2/kernel",
            "decoder_block_10/ffw_gating_2/kernel",
        ]
        assert coverage.overlaps[0][1] == tuple(rules)

    def test_an_exact_path_comes_before_patterns(self, mesh_1x8: Any) -> None:
        rules = {".*kernel": (None, "model"), "decoder_block_0/ffw_gating/kernel": ("model", None)}
        made = layout_map(mesh_1x8, rules)
        assert made["decoder_block_0/ffw_gating/kernel"].axes == ("model", None)
        coverage = rule_coverage(made, VARIABLES)
        assert not coverage.overlaps
        assert [len(rule.paths) for rule in coverage.rules] == [2, 1]

    def test_what_does_not_divide(self, devices: list[str]) -> None:
        mesh = keras.distribution.DeviceMesh((1, 7), ["batch", "model"], devices[:7])
        coverage = rule_coverage(layout_map(mesh, {".*kernel": (None, "model")}), VARIABLES)
        assert [(found.dimension, found.axis, found.axis_size) for found in coverage.indivisible] == [
            (1, "model", 7)
        ] * 3

    def test_specs_that_do_not_fit_and_replicated_variables(self, devices: list[str]) -> None:
        mesh = keras.distribution.DeviceMesh((8, 1), ["batch", "model"], devices)
        coverage = rule_coverage(
            layout_map(
                mesh,
                {
                    # One entry for two dimensions fits, over eight devices.
                    "token_embedding/embeddings": ("batch",),
                    # An axis of one device shards nothing.
                    ".*ffw_gating/kernel": (None, "model"),
                    ".*ffw_gating_2/kernel": ("batch", "batch"),
                    ".*scale": ("batch", None),
                },
            ),
            VARIABLES,
        )
        assert [(misfit.path.rpartition("decoder_block_")[2], misfit.spec) for misfit in coverage.misfits] == [
            ("0/ffw_gating_2/kernel", ("batch", "batch")),
            ("10/ffw_gating_2/kernel", ("batch", "batch")),
            ("0/norm/scale", ("batch", None)),
        ]
        assert [variable.path for variable in coverage.replicated] == ["decoder_block_0/ffw_gating/kernel"]
        assert coverage.nbytes_replicated == 24 * 40 * 4

    def test_the_arrays_have_the_predicted_bytes(self, mesh_1x8: Any) -> None:
        """On two meshes."""
        mesh_2x4 = keras.distribution.DeviceMesh((2, 4), ["batch", "model"], keras.distribution.list_devices())
        for mesh in (mesh_1x8, mesh_2x4):
            rules = gemma_layout_map(mesh)
            coverage = rule_coverage(rules, weightless_variables(find_preset("bundled").config))
            held = nbytes_per_device(load_distributed(str(BUNDLED_FOLDER), rules).backbone.variables)
            assert list(held) == [f"cpu:{number}" for number in range(8)]
            assert set(held.values()) == {coverage.nbytes_per_device}
