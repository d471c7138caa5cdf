"""The evidence: rule coverage, placement, and the judge of style."""

from typing import Any

import numpy as np
import pytest

from kit.models.weightless import VariableInfo

VARIABLES = [
    VariableInfo("token_embedding/embeddings", (64, 24), "float32", True),
    VariableInfo("decoder_block_0/ffw_gating/kernel", (24, 40), "float32", True),
    VariableInfo("decoder_block_0/ffw_gating_2/kernel", (24, 40), "float32", True),
    VariableInfo("decoder_block_10/ffw_gating_2/kernel", (24, 40), "bfloat16", True),
    VariableInfo("decoder_block_0/norm/scale", (24,), "float32", True),
]


def layout_map(mesh: Any, rules: dict[str, tuple]) -> Any:
    import keras

    made = keras.distribution.LayoutMap(mesh)
    for pattern, spec in rules.items():
        made[pattern] = spec
    return made


@pytest.mark.spec
class TestRuleCoverage:
    def test_who_matches_what(self, mesh_1x8: Any) -> None:
        from kit.evidence.rule_coverage import rule_coverage

        coverage = rule_coverage(
            layout_map(
                mesh_1x8,
                {
                    "token_embedding/embeddings": ("model", None),
                    # Neither the second matrix nor, since Keras 3.14, anything that this is only a part of.
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
        from kit.evidence.rule_coverage import rule_coverage

        rules = {".*kernel": (None, "model"), ".*ffw_gating_2/kernel": (None, "model")}
        coverage = rule_coverage(layout_map(mesh_1x8, rules), VARIABLES)
        assert [path for path, _ in coverage.overlaps] == [
            "decoder_block_0/ffw_gating_2/kernel",
            "decoder_block_10/ffw_gating_2/kernel",
        ]
        assert coverage.overlaps[0][1] == tuple(rules)

    def test_an_exact_path_goes_before_patterns(self, mesh_1x8: Any) -> None:
        from kit.evidence.rule_coverage import rule_coverage

        rules = {".*kernel": (None, "model"), "decoder_block_0/ffw_gating/kernel": ("model", None)}
        made = layout_map(mesh_1x8, rules)
        assert made["decoder_block_0/ffw_gating/kernel"].axes == ("model", None)
        coverage = rule_coverage(made, VARIABLES)
        assert not coverage.overlaps
        assert [len(rule.paths) for rule in coverage.rules] == [2, 1]

    def test_what_does_not_divide(self, devices: list[str]) -> None:
        import keras

        from kit.evidence.rule_coverage import rule_coverage

        mesh = keras.distribution.DeviceMesh((1, 7), ["batch", "model"], devices[:7])
        coverage = rule_coverage(layout_map(mesh, {".*kernel": (None, "model")}), VARIABLES)
        assert [(found.dimension, found.axis, found.axis_size) for found in coverage.indivisible] == [
            (1, "model", 7)
        ] * 3

    def test_specs_that_do_not_fit_and_what_is_held_whole(self, devices: list[str]) -> None:
        import keras

        from kit.evidence.rule_coverage import rule_coverage

        mesh = keras.distribution.DeviceMesh((8, 1), ["batch", "model"], devices)
        coverage = rule_coverage(
            layout_map(
                mesh,
                {
                    # One entry for two dimensions is right, over eight devices.
                    "token_embedding/embeddings": ("batch",),
                    # An axis of one device splits nothing.
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

    def test_prediction_and_arrays_agree(self, mesh_1x8: Any) -> None:
        """What the rules say a device will hold is what its arrays hold, on two meshes."""
        import keras

        from kit.evidence.placement import nbytes_per_device
        from kit.evidence.rule_coverage import rule_coverage
        from kit.models.presets import BUNDLED_FOLDER, find_preset
        from kit.models.weightless import weightless_variables
        from kit.reference.layout import gemma_layout_map
        from kit.reference.loading import load_distributed

        mesh_2x4 = keras.distribution.DeviceMesh((2, 4), ["batch", "model"], keras.distribution.list_devices())
        for mesh in (mesh_1x8, mesh_2x4):
            rules = gemma_layout_map(mesh)
            coverage = rule_coverage(rules, weightless_variables(find_preset("bundled").config))
            held = nbytes_per_device(load_distributed(str(BUNDLED_FOLDER), rules).backbone.variables)
            assert list(held) == [f"cpu:{number}" for number in range(8)]
            assert set(held.values()) == {coverage.nbytes_per_device}


@pytest.mark.style
class TestJudge:
    def test_it_is_right_on_texts_that_it_has_not_read(self) -> None:
        from kit.evidence.style import judge_accuracy, train_judge

        accuracy = judge_accuracy(train_judge())
        assert accuracy.number == 300
        assert accuracy.reviews >= 0.95
        assert accuracy.lists >= 0.95
        assert accuracy.shuffled >= 0.95

    @pytest.mark.parametrize(
        ("text", "is_list", "is_review"),
        [
            ("1. Aliens (1986) 2. Die Hard (1988) 3. Predator (1987)", True, False),
            (
                "I saw this film with my sister, and we both thought that it was one of the best we had seen.",
                False,
                True,
            ),
            ("the the the the the the the the the the the the", False, False),
            ("it of good the was and film a see to movie that not I very", False, False),
        ],
    )
    def test_what_is_plain_to_see(self, text: str, is_list: bool, is_review: bool) -> None:
        from kit.evidence.style import train_judge

        verdict = train_judge()(text)
        assert (verdict.is_list, verdict.is_review) == (is_list, is_review)

    def test_copies_are_found(self) -> None:
        from kit.evidence.style import share_without_copies

        source = "One two three four five six seven eight nine ten."
        generations = ["two three four five six seven eight nine", "two three four five six seven and eight nine"]
        assert share_without_copies(generations, [source, "something else"]) == 0.5

    def test_shuffling_keeps_the_words(self) -> None:
        from kit.evidence.style import shuffled_words

        text = "a b c d e f g h"
        shuffled = shuffled_words(text, np.random.default_rng(0))
        assert shuffled != text
        assert sorted(shuffled.split()) == text.split()
