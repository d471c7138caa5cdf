"""A check of where the weights of a loaded model are."""

import re
from typing import Any

import pytest
from qwen_model import failure, layout_map, make_backbone, set_distribution

from kit.checks import check_placement


@pytest.mark.spec
class TestPlacement:
    def test_a_loaded_model(self, device_mesh: Any) -> None:
        set_distribution(layout_map(device_mesh(2, 4)))
        model = make_backbone(num_layers=1)
        check_placement(model, share=0.02)
        # With a smaller share the norms are too many.
        failed = failure("LAYOUT_MATRIX_REPLICATED", check_placement, model, share=0.001)
        assert re.search(r"sequence_output_layernorm/scale +1 +\(40\) +160 B", failed)

    def test_no_distribution(self, device_mesh: Any) -> None:
        import keras

        model = keras.Sequential([keras.Input((16,)), keras.layers.Dense(8)])
        failed = failure("LOADING_NO_DISTRIBUTION", check_placement, model)
        assert "1 of 8" in failed

        # What is built under the distribution is on all devices.
        set_distribution(layout_map(device_mesh(), {".*kernel": (None, "model")}))
        model.add(keras.layers.Dense(24))
        failed = failure("LOADING_DISTRIBUTION_TOO_LATE", check_placement, model)
        assert "8 of 8" in failed

    def test_nothing_to_check(self, simulated_devices: list[str]) -> None:
        from kit.models.weightless import no_weights

        with no_weights():
            model = make_backbone(num_layers=1)
        failed = failure("NOTHING_TO_CHECK", check_placement, model)
        assert "13 of the model's 13 weights have no value" in failed
        failure("NOTHING_TO_CHECK", check_placement, [])
