"""Layouts that were found for models that the tutorial's layout does not fit."""

import copy
import math
from typing import Any

import keras
import keras_hub
import pytest
import tiny_presets

from kit.course.shared.tensor_parallel import TENSOR_PARALLEL, small_config
from kit.dev.layout_search import candidates, variants
from kit.evidence.rule_coverage import check_coverage, rule_coverage
from kit.models.architectures import ARCHITECTURES, gemma3_config, gemma4_config, gemma_config
from kit.models.known_layouts import (
    GROUPS,
    find_layout,
    fully_sharded_layout,
    known_layouts,
    layout_of,
    matrices,
    tutorial_misfits,
)
from kit.models.weightless import describe, no_weights, weightless_variables

LAYOUTS = known_layouts()


def tiny_config(family: str) -> dict[str, Any]:
    make = {"gemma3": gemma3_config, "gemma4": gemma4_config}.get(family.partition("_")[0], gemma_config)
    return make(**{"vocabulary_size": tiny_presets.VOCABULARY_SIZE, **tiny_presets.SIZES[family]})


class TestSearched:
    @pytest.mark.parametrize(("preset", "mesh"), [(preset, mesh) for preset in LAYOUTS for mesh in LAYOUTS[preset]])
    def test_the_chosen_one_sends_least(self, preset: str, mesh: str) -> None:
        entry, config = LAYOUTS[preset][mesh], ARCHITECTURES[preset]
        batch, model = map(int, mesh.split("x"))
        members = matrices(config)
        assert bool(entry["enumerated"]) == bool(tutorial_misfits(members, model))
        if entry["enumerated"]:
            enumerated = [{name: one[name] for name in entry["choice"]} for one in entry["enumerated"]]
            first = [dict(candidate.choice) for candidate in candidates(members, model)]
            assert enumerated[: len(first)] == first
            cost = [(one["collective_bytes"], one["argument_bytes"]) for one in entry["enumerated"]]
            best = enumerated[cost.index(min(cost[: len(first)]))]
            assert enumerated[len(first) :] == [dict(candidate.choice) for candidate in variants(members, model, best)]
            assert enumerated[cost.index(min(cost))] == entry["choice"]
            found = find_layout(config, (batch, model))
            assert found is not None
            assert found.sentence.endswith(f": using the layout found for {preset}")
            if set(entry["choice"]) == set(enumerated[0]):
                assert {path: list(spec) for path, spec in found.layout.items()} == entry["layout"]
        else:
            assert find_layout(config, (batch, model)) is None
            # The same specs as in the checks of the course.
            for path, spec in entry["layout"].items():
                assert tuple(spec) == TENSOR_PARALLEL[path.removeprefix("decoder_block_N/")]


class TestFindLayout:
    @pytest.mark.parametrize("name", ARCHITECTURES)
    def test_every_published_model_has_one(self, name: str, devices: list[str]) -> None:
        config = ARCHITECTURES[name]
        for axis in (2, 4, 8):
            mesh = keras.distribution.DeviceMesh((8 // axis, axis), ["batch", "model"], devices)
            found = find_layout(config, (8 // axis, axis))
            assert (found is not None) == bool(tutorial_misfits(matrices(config), axis))
            if found is None:
                continue
            coverage = rule_coverage(found.make(mesh), weightless_variables(config))
            check_coverage(coverage, (8 // axis, axis))
            assert all(rule.paths for rule in coverage.rules)
            # No more than attention, 12 % of the smallest model, and what is small is replicated.
            assert coverage.nbytes_per_device < (1 / axis + 0.12) * coverage.nbytes

    @pytest.mark.parametrize("family", tiny_presets.SIZES)
    def test_other_sizes_have_one_by_rule(self, family: str, devices: list[str]) -> None:
        config = tiny_config(family)
        mesh = keras.distribution.DeviceMesh((1, 8), ["batch", "model"], devices)
        found = find_layout(config, (1, 8))
        assert found is not None
        coverage = rule_coverage(found.make(mesh), weightless_variables(config, rank=4))
        check_coverage(coverage, (1, 8))
        assert all(rule.paths for rule in coverage.rules)
        assert {variable.path for variable in coverage.replicated}.isdisjoint(
            path for rule in coverage.rules for path in rule.paths
        )
        assert find_layout(config, (8, 1)) is None

    def test_what_it_says(self) -> None:
        def sentence(config: dict[str, Any], axis: int) -> str:
            found = find_layout(config, (1, axis))
            assert found is not None
            return found.sentence

        assert sentence(ARCHITECTURES["gemma_2b_en"], 8) == (
            "the tutorial's layout does not divide 1 key/value head by 8: using the layout found for gemma_2b_en"
        )
        assert sentence(tiny_config("gemma3"), 8) == (
            "the tutorial's layout does not divide 4 query heads and 1 key/value head by 8: using one with query "
            "replicated, key and value replicated, attention output replicated"
        )
        assert sentence(tiny_config("gemma4_moe"), 2).startswith(
            "the tutorial's layout has no rule for experts: using one with experts split by "
        )
        assert "does not divide 2 key/value heads of global attention by 4" in sentence(tiny_config("gemma4"), 4)

    def test_the_bundled_model_and_meshes_that_fit_need_none(self) -> None:
        assert find_layout(small_config(), (1, 8)) is None
        assert find_layout(ARCHITECTURES["gemma_7b_en"], (1, 8)) is None
        assert find_layout(ARCHITECTURES["gemma4_26b_a4b"], (8, 1)) is None

    def test_no_layout_helps_if_the_axis_divides_nothing(self) -> None:
        assert find_layout(small_config(), (1, 17)) is None

    def test_a_saved_configuration_has_its_architecture(self) -> None:
        with no_weights():
            saved = keras.saving.deserialize_keras_object(copy.deepcopy(ARCHITECTURES["gemma3_270m"])).get_config()
        found = find_layout({"class_name": "Gemma3Backbone", **ARCHITECTURES["gemma3_270m"], "config": saved}, (1, 8))
        assert found is not None
        assert found.sentence.endswith("using the layout found for gemma3_270m")

    def test_blocks_of_one_kind_share_a_rule(self, devices: list[str]) -> None:
        config = tiny_config("gemma4")
        mesh = keras.distribution.DeviceMesh((2, 4), ["batch", "model"], devices)
        found = find_layout(config, (2, 4))
        assert found is not None
        rules = {rule.pattern: rule for rule in rule_coverage(found.make(mesh), weightless_variables(config)).rules}
        assert rules["decoder_block_(0|1)/attention/key/kernel"].spec == ("model", None, None)
        assert rules["decoder_block_(2)/attention/key/kernel"].spec == (None, None, "model")
        assert len(rules[r"decoder_block_\d+/attention/query/kernel"].paths) == 3


class TestMatrices:
    @pytest.mark.parametrize("name", ["gemma_7b_en", "gemma3_12b_text", "gemma4_2b", "gemma4_26b_a4b"])
    def test_groups_have_nearly_all_parameters(self, name: str) -> None:
        config = ARCHITECTURES[name]
        covered = {path for group in GROUPS.values() for path in group.matrices}
        variables = weightless_variables(config)
        known = sum(one.size for one in variables if any(one.path.endswith(path) for path in covered))
        assert known > 0.99 * sum(one.size for one in variables)

    def test_the_rule_keeps_what_the_axis_divides(self) -> None:
        members = matrices(tiny_config("gemma4_e2b"))
        layout = layout_of(members, 4, {"per-layer embeddings": "features"})
        assert layout["per_layer_token_embedding/embeddings"] == (None, "model")
        assert layout["decoder_block_N/attention/query/kernel"] == ("model", None, None)
        assert {matrix.kind.name for matrix in members if matrix.kind} == {
            "local attention",
            "global attention",
            "local attention, shared keys",
            "global attention, shared keys",
        }
        with no_weights():
            backbone = keras.saving.deserialize_keras_object(tiny_config("gemma4_e2b"))
            paths = {variable.path for variable in describe(backbone.variables)}
        assert "decoder_block_2/attention/key/kernel" not in paths


class TestFullySharded:
    @pytest.mark.parametrize("name", ["gemma_7b_en", "gemma2_9b_en", "gemma3_270m", "gemma4_2b", "gemma4_26b_a4b"])
    @pytest.mark.parametrize("shape", [(8, 1), (4, 2), (2, 4)])
    def test_each_device_holds_its_share_of_the_matrices(
        self, name: str, shape: tuple[int, int], devices: list[str]
    ) -> None:
        config = ARCHITECTURES[name]
        mesh = keras.distribution.DeviceMesh(shape, ["batch", "model"], devices)
        coverage = rule_coverage(fully_sharded_layout(config, shape).make(mesh), weightless_variables(config))
        check_coverage(coverage, shape)
        # Norms, and the per-layer projections of Gemma 4, which no layout splits.
        replicated = sum(variable.nbytes for variable in coverage.replicated)
        assert replicated < 0.01 * coverage.nbytes
        # Attention that is not split over "model" is split over "batch" alone.
        whole_attention = 0.12 * coverage.nbytes * (1 / shape[0] - 1 / 8)
        # Embeddings are split over one axis: over "model", unless that has one device.
        axis = shape[1] if shape[1] > 1 else shape[0]
        embeddings = next(one for one in matrices(config) if one.group == "embeddings")
        of_embeddings = 4 * math.prod(embeddings.sizes.values()) * (1 / axis - 1 / 8)
        least = coverage.nbytes / 8 + replicated + whole_attention + of_embeddings
        assert coverage.nbytes_per_device <= least + 1

    def test_gemma_7b_as_in_keras_hub(self, devices: list[str]) -> None:
        """The specs of ``GemmaBackbone.get_layout_map``, kernel by kernel; embeddings differ."""
        mesh = keras.distribution.DeviceMesh((4, 2), ["batch", "model"], devices)
        own = fully_sharded_layout(ARCHITECTURES["gemma_7b_en"], (4, 2)).make(mesh)
        published = keras_hub.models.GemmaBackbone.get_layout_map(mesh)
        paths = [
            variable.path
            for variable in weightless_variables(ARCHITECTURES["gemma_7b_en"])
            if "kernel" in variable.path
        ]
        assert len(paths) == 28 * 7
        assert own["token_embedding/embeddings"].axes == ("model", None)
        for path in paths:
            assert own[path].axes == published[path].axes, path
