"""Checks of a layout map: its rules, and the bytes that it leaves replicated."""

import re
from typing import Any

import numpy as np
import pytest
from qwen_model import RULES, failure, layout_map, make_backbone, set_distribution

from kit.checks import check_layout_coverage, check_replicated_bytes


def with_rule(pattern: str, axes: tuple[str | None, ...] | None, replaces: str | None = None) -> dict[str, Any]:
    rules = {key: value for key, value in RULES.items() if key != replaces}
    return rules if axes is None else {**rules, pattern: axes}


def model_with_outputs() -> Any:
    """A model with a layer without variables, and a model in it."""
    import keras

    inner = keras.Sequential([keras.layers.Dense(8, name="d3")], name="inner")
    inputs = keras.Input((16,))
    hidden = keras.layers.Dropout(0.1, name="drop")(keras.layers.Dense(16, name="d1")(inputs))
    return keras.Model(inputs, inner(keras.layers.Dense(8, name="d2")(hidden)), name="outer")


FEEDFORWARD = ".*feedforward_output_dense/kernel"
REPLICATED = "LAYOUT_MATRIX_REPLICATED"


@pytest.mark.spec
class TestLayoutCoverage:
    @pytest.mark.parametrize("shape", [(1, 8), (2, 4), (8, 1)])
    def test_a_right_layout_passes(self, shape: tuple[int, int], device_mesh: Any, weightless_model: Any) -> None:
        variables = weightless_model(make_backbone)
        assert len(variables) == 24
        check_layout_coverage(layout_map(device_mesh(*shape)), variables)

    def test_it_takes_a_model_or_its_variables(self, device_mesh: Any) -> None:
        import keras

        model = keras.Sequential([keras.Input((16,)), keras.layers.Dense(8, name="one")])
        rules = layout_map(device_mesh(), {"sequential.*/one/kernel": ("model", None)})
        check_layout_coverage(rules, model)
        check_layout_coverage(rules, model.variables)

    @pytest.mark.parametrize(
        ("pattern", "axes", "code", "in_the_text"),
        [
            ("feedforward_output_dense/kernel", ("model", None), "LAYOUT_RULE_MATCHES_NOTHING", "matches nothing"),
            (".*(output|gate)_dense/kernel", ("model", None), "LAYOUT_RULES_OVERLAP", "2 matched by another rule too"),
            (FEEDFORWARD, ("model", None, None), "LAYOUT_SPEC_DOES_NOT_FIT", "3 entries for 2 dimensions"),
            (FEEDFORWARD, ("model", "model"), "LAYOUT_SPEC_DOES_NOT_FIT", "an axis twice"),
            (".*query_dense_layernorm/scale", ("model",), "LAYOUT_AXIS_DOES_NOT_DIVIDE", "8 does not divide 6"),
        ],
    )
    def test_a_wrong_rule(
        self, pattern: str, axes: Any, code: str, in_the_text: str, device_mesh: Any, weightless_model: Any
    ) -> None:
        rules = layout_map(device_mesh(1, 8), with_rule(pattern, axes, replaces=FEEDFORWARD))
        failed = failure(code, check_layout_coverage, rules, weightless_model(make_backbone))
        assert in_the_text in failed
        # Variables without a rule are listed with their bytes, one row for all layers.
        scale = r"transformer_layer_\*/self_attention_layernorm/scale +shape \(40\) +2 +320 B +no rule"
        assert re.search(scale, failed)

    def test_a_spec_may_have_fewer_entries_than_dimensions(self, device_mesh: Any, weightless_model: Any) -> None:
        rules = layout_map(device_mesh(1, 8), with_rule(FEEDFORWARD, ("model",), replaces=FEEDFORWARD))
        check_layout_coverage(rules, weightless_model(make_backbone))

    def test_the_table_shows_all_mistakes(self, device_mesh: Any, weightless_model: Any) -> None:
        rules = {**with_rule("nothing", (None, "model"), replaces=FEEDFORWARD), "nor_this": ("model",)}
        made = layout_map(device_mesh(1, 8), rules)
        failed = failure("LAYOUT_RULE_MATCHES_NOTHING", check_layout_coverage, made, weightless_model(make_backbone))
        assert "1 more rule is wrong" in failed
        assert failed.count("matches nothing") == 2

    @pytest.mark.parametrize("pattern", ["d2/output", "d.*/output", "drop/output", "inner/d3/output"])
    def test_a_rule_for_the_output_of_a_layer_is_in_use(
        self, pattern: str, device_mesh: Any, weightless_model: Any
    ) -> None:
        rules = layout_map(device_mesh(2, 4), {"d1/kernel": (None, "model"), pattern: ("batch", None)})
        check_layout_coverage(rules, weightless_model(model_with_outputs))
        check_layout_coverage(rules, model_with_outputs())
        # From a list of variables, the layers are not known, and the rule is not accused.
        check_layout_coverage(rules, model_with_outputs().variables)

    def test_keras_asks_for_the_outputs_of_these_layers(self, device_mesh: Any) -> None:
        import keras

        from kit.models.weightless import layer_paths

        asked: set[str] = set()

        class Asked(keras.distribution.LayoutMap):
            def __getitem__(self, key: str) -> Any:
                asked.add(key)
                return super().__getitem__(key)

        made = Asked(device_mesh(2, 4))
        made["d2/output"] = ("batch", None)
        set_distribution(made)
        model = model_with_outputs()
        model.predict(np.ones((8, 16)), verbose=0)
        outputs = {path for path in asked if path.endswith("/output")}
        assert len(outputs) > 4
        assert outputs <= {f"{layer}/output" for layer in layer_paths(model)}

    def test_a_dead_rule_for_an_output(self, device_mesh: Any, weightless_model: Any) -> None:
        rules = layout_map(device_mesh(2, 4), {"d1/kernel": (None, "model"), "dense_2/output": ("batch", None)})
        failed = failure(
            "LAYOUT_RULE_MATCHES_NOTHING", check_layout_coverage, rules, weightless_model(model_with_outputs)
        )
        assert "the output of none of the" in re.sub(r"\s+", " ", failed)
        assert "d2/output" in failed

    def test_unnamed_layers_are_numbered_on(self, device_mesh: Any) -> None:
        import keras

        rules = layout_map(device_mesh(2, 4), {"sequential/dense/kernel": (None, "model")})
        models = [keras.Sequential([keras.Input((16,)), keras.layers.Dense(8)]) for _ in range(2)]
        check_layout_coverage(rules, models[0])
        failed = failure("LAYOUT_RULE_MATCHES_NOTHING", check_layout_coverage, rules, models[1])
        assert "The model has sequential_1/dense_1/kernel. Keras numbers unnamed layers on" in re.sub(
            r"\s+", " ", failed
        )

    def test_weightless_models_are_numbered_from_0(self, device_mesh: Any, weightless_model: Any) -> None:
        import keras

        rules = layout_map(device_mesh(2, 4), {"sequential/dense/kernel": (None, "model")})
        for _ in range(2):
            check_layout_coverage(
                rules, weightless_model(lambda: keras.Sequential([keras.Input((16,)), keras.layers.Dense(8)]))
            )

    def test_a_model_that_is_not_built(self, device_mesh: Any) -> None:
        import keras

        model = keras.Sequential([keras.layers.Dense(8)])
        failed = failure("NOTHING_TO_CHECK", check_layout_coverage, layout_map(device_mesh()), model)
        assert "call it on a batch once" in re.sub(r"\s+", " ", failed)

    def test_nothing_to_check(self, device_mesh: Any, weightless_model: Any) -> None:
        import keras

        empty, full = layout_map(device_mesh(), {}), layout_map(device_mesh())
        variables = weightless_model(lambda: make_backbone(num_layers=1))
        for check in (check_layout_coverage, check_replicated_bytes):
            failure("NOTHING_TO_CHECK", check, empty, variables)
            failure("NOTHING_TO_CHECK", check, full, [])
            # Not built.
            unbuilt = keras.Sequential([keras.layers.Dense(8)])
            failure("NOTHING_TO_CHECK", check, full, unbuilt)


@pytest.mark.spec
class TestReplicatedBytes:
    def test_a_right_layout_passes(self, device_mesh: Any, weightless_model: Any) -> None:
        check_replicated_bytes(layout_map(device_mesh(1, 8)), weightless_model(make_backbone), share=0.02)

    @pytest.mark.parametrize("pattern", list(RULES))
    def test_a_matrix_left_out(self, pattern: str, device_mesh: Any, weightless_model: Any) -> None:
        rules = layout_map(device_mesh(1, 8), with_rule("", None, replaces=pattern))
        failed = failure(REPLICATED, check_replicated_bytes, rules, weightless_model(make_backbone), share=0.02)
        assert re.search(r"of\s+the\s+model's\s+149\.4\s+kB\s+are\s+replicated", failed)

    def test_a_rule_that_shards_nothing(self, device_mesh: Any, weightless_model: Any) -> None:
        rules = layout_map(device_mesh(1, 8), with_rule(FEEDFORWARD, (None, None), replaces=FEEDFORWARD))
        failed = failure(REPLICATED, check_replicated_bytes, rules, weightless_model(make_backbone), share=0.02)
        assert repr(FEEDFORWARD) in failed.replace("\n", " ")
        # An axis of one device shards nothing either.
        rules = layout_map(device_mesh(8, 1))
        assert "100.00%" in failure(REPLICATED, check_replicated_bytes, rules, weightless_model(make_backbone))

    def test_the_sum_of_many_small_variables_counts(self, device_mesh: Any) -> None:
        """Each matrix that a rule for ffw_gating misses is below 1 % of Gemma 7B."""
        from kit.models.architectures import GEMMA_7B
        from kit.models.weightless import weightless_variables

        rules = {
            "token_embedding/embeddings": ("model", None),
            "decoder_block.*attention.*kernel": ("model", None, None),
            "decoder_block.*ffw_gating/kernel": (None, "model"),
            "decoder_block.*ffw_linear/kernel": ("model", None),
        }
        variables = weightless_variables(GEMMA_7B)
        total = sum(variable.nbytes for variable in variables)
        missed = [variable for variable in variables if "ffw_gating_2" in variable.path]
        assert len(missed) == 28
        assert all(variable.nbytes < 0.01 * total for variable in missed)
        failed = failure(REPLICATED, check_replicated_bytes, layout_map(device_mesh(1, 8), rules), variables)
        assert re.search(r"decoder_block_\*/ffw_gating_2/kernel +28 +\(3072, 24576\) +8\.46 GB", failed)

        del rules["decoder_block.*ffw_gating/kernel"]
        rules["decoder_block.*ffw_gating(_2)?/kernel"] = (None, "model")
        check_replicated_bytes(layout_map(device_mesh(1, 8), rules), variables, share=1e-4)

    def test_a_single_device(self, device_mesh: Any, weightless_model: Any) -> None:
        rules = layout_map(device_mesh(1, 1))
        failure("NOTHING_TO_CHECK", check_replicated_bytes, rules, weightless_model(make_backbone))

    @pytest.mark.parametrize("share", [-0.1, 1, 2])
    def test_a_number_that_is_not_a_share(self, share: float, device_mesh: Any, weightless_model: Any) -> None:
        with pytest.raises(ValueError, match="share must be"):
            check_replicated_bytes(layout_map(device_mesh()), weightless_model(make_backbone), share=share)
