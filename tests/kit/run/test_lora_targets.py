"""Names of LoRA's target layers."""

import pytest

from kit.course.shared import small_models as small
from kit.errors import UserError
from kit.run.lora_targets import lora_targets_must_exist


class TestLoraTargets:
    def test_a_name_that_matches_nothing_is_an_error(self) -> None:
        model = small.small_model(rank=0, num_layers=1)
        with (
            lora_targets_must_exist(),
            pytest.raises(UserError, match=r"^LoRA: no layer of this GemmaBackbone .* is called vaule; it has .*value"),
        ):
            model.backbone.enable_lora(4, target_layer_names=["query", "vaule"])

    def test_names_that_match_are_adapted(self) -> None:
        model = small.small_model(rank=0, num_layers=1)
        with lora_targets_must_exist():
            model.backbone.enable_lora(4, target_layer_names=["query", "value"])
        assert len(model.backbone.trainable_variables) == 4
        # KerasHub's own default has names of layers of other models.
        model = small.small_model(rank=0, num_layers=1)
        with lora_targets_must_exist():
            model.backbone.enable_lora(4)
        assert len(model.backbone.trainable_variables) == 4
