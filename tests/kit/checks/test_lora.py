"""A check of what LoRA trains."""

import re
from typing import Any

import pytest
from qwen_model import failure, make_backbone

from kit.checks import check_lora_parameters


@pytest.mark.params
class TestLoraParameters:
    @pytest.fixture(autouse=True)
    def without_weights(self, simulated_devices: list[str]) -> Any:
        """The check reads shapes alone, so that nothing needs a value."""
        from kit.models.weightless import no_weights

        with no_weights():
            yield

    def test_the_number_is_the_closed_form(self) -> None:
        # Of a kernel (40, 8, 6): A (40, 8, 4) and B (4, 6), in 2 projections of 2 layers.
        assert check_lora_parameters(make_backbone(4), rank=4) == 2 * 2 * (40 * 8 * 4 + 4 * 6)
        # Of a matrix (80, 40).
        backbone = make_backbone(3, ("feedforward_output_dense",))
        assert check_lora_parameters(backbone, 3, "feedforward_output_dense") == 2 * (80 * 3 + 3 * 40)
        # Of embeddings (64, 40).
        backbone = make_backbone(2, ("token_embedding", "key"))
        expected = 64 * 2 + 2 * 40 + 2 * (40 * 8 * 2 + 2 * 6)
        assert check_lora_parameters(backbone, 2, ("token_embedding", "key")) == expected

    def test_gemma_7b(self) -> None:
        from kit.models.architectures import GEMMA_7B
        from kit.models.weightless import build_backbone

        backbone = build_backbone(GEMMA_7B)
        backbone.enable_lora(4)
        assert check_lora_parameters(backbone, 4) == 11_067_392

    @pytest.mark.parametrize(
        ("rank", "targets", "code", "in_the_text"),
        [
            (8, ("query", "value"), "LORA_WRONG_RANK", "transformer_layer_0/self_attention/value  4         8"),
            (4, ("query", "valeu"), "LORA_WRONG_TARGETS", "value  .*adapters  adapters in 0 of 2 layers"),
            (4, ("query", "value", "key"), "LORA_WRONG_TARGETS", "key  .*none      adapters in 2 of 2 layers"),
            (4, ("valeu",), "LORA_NOTHING_TRAINABLE", "value  .*adapters  adapters in 0 of 2 layers"),
        ],
    )
    def test_other_adapters_than_expected(
        self, rank: int, targets: tuple[str, ...], code: str, in_the_text: str
    ) -> None:
        failed = failure(code, check_lora_parameters, make_backbone(rank, targets), rank=4)
        assert re.search(in_the_text, failed)

    def test_a_target_that_the_model_does_not_have(self) -> None:
        failed = failure("LORA_WRONG_TARGETS", check_lora_parameters, make_backbone(4), 4, ("query", "value", "values"))
        assert "named values" in failed

    def test_the_base_is_trained_too(self) -> None:
        backbone = make_backbone(4)
        backbone.get_layer("sequence_output_layernorm").trainable = True
        failed = failure("LORA_BASE_NOT_FROZEN", check_lora_parameters, backbone, 4)
        assert re.search(r"sequence_output_layernorm/scale +1 +\(40\) +160 B", failed)

    def test_an_adapter_is_frozen(self) -> None:
        backbone = make_backbone(4)
        next(weight for weight in backbone.weights if weight.path.endswith("lora_kernel_b")).trainable = False
        failed = failure("LORA_WRONG_COUNT", check_lora_parameters, backbone, 4)
        assert re.search(r"lora_kernel_b +\(4, 6\) +\(4, 6\) +frozen", failed)
        assert f"{2 * 2 * (40 * 8 * 4 + 4 * 6) - 24:,}" in failed

    @pytest.mark.parametrize("frozen", ["the model", "the blocks"])
    def test_frozen_adapters_are_named_with_what_freezes_them(self, frozen: str) -> None:
        backbone = make_backbone(4)
        if frozen == "the model":
            backbone.trainable = False
        else:
            for block in range(2):
                backbone.get_layer(f"transformer_layer_{block}").trainable = False
        failed = re.sub(r"\s+", " ", failure("LORA_NOTHING_TRAINABLE", check_lora_parameters, backbone, 4))
        assert "4 layers have adapters, but no matrix of them is trainable: trainable = False is set on" in failed
        named = "the model" if frozen == "the model" else "the layer transformer_layer_0 and the layer"
        assert named in failed
        assert "Compare the names" not in failed

    def test_frozen_adapters_beside_a_trained_layer(self) -> None:
        backbone = make_backbone(4)
        backbone.trainable = False
        backbone.get_layer("sequence_output_layernorm").trainable = True
        failed = failure("LORA_NOTHING_TRAINABLE", check_lora_parameters, backbone, 4)
        assert re.search(r"trainable weights +A and B +1", failed)

    def test_one_frozen_layer_with_an_adapter(self) -> None:
        backbone = make_backbone(4)
        query = backbone.get_layer("transformer_layer_1")._self_attention_layer._query_dense
        query.trainable = False
        failed = re.sub(r"\s+", " ", failure("LORA_WRONG_COUNT", check_lora_parameters, backbone, 4))
        assert f"2 matrices of the adapters are frozen: trainable = False is set on the layer {query.path}" in failed

    def test_biases(self) -> None:
        """KerasHub leaves the biases of targeted layers trainable, and the check reports it."""
        import keras_hub

        backbone = keras_hub.models.QwenBackbone(64, 1, 8, num_key_value_heads=4, hidden_dim=48, intermediate_dim=80)
        backbone.enable_lora(4)
        failed = failure("LORA_BASE_NOT_FROZEN", check_lora_parameters, backbone, 4)
        assert "train_biases=True" in failed
        adapters = (48 * 8 * 4 + 4 * 6) + (48 * 4 * 4 + 4 * 6)
        assert check_lora_parameters(backbone, 4, train_biases=True) == adapters + 8 * 6 + 4 * 6

    def test_nothing_to_check(self) -> None:
        import keras

        failed = failure("NOTHING_TO_CHECK", check_lora_parameters, make_backbone(), 4)
        assert "enable_lora" in failed
        failure("NOTHING_TO_CHECK", check_lora_parameters, keras.Sequential([]), 4)
        with pytest.raises(ValueError, match="rank"):
            check_lora_parameters(make_backbone(), 0)
