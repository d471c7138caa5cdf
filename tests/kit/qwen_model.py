"""A small Qwen 3 from KerasHub with its layout rules, for tests of the checks."""

from collections.abc import Callable
from typing import Any

import pytest

from kit.checks import CheckFailed

RULES = {
    "token_embedding/embeddings": ("model", None),
    ".*self_attention/(query|key|value)/kernel": (None, "model", None),
    ".*self_attention/attention_output/kernel": ("model", None, None),
    ".*feedforward_(gate|intermediate)_dense/kernel": (None, "model"),
    ".*feedforward_output_dense/kernel": ("model", None),
}


def make_backbone(lora_rank: int = 0, targets: tuple[str, ...] = ("query", "value"), num_layers: int = 2) -> Any:
    import keras_hub

    backbone = keras_hub.models.Qwen3Backbone(64, num_layers, 8, 8, head_dim=6, hidden_dim=40, intermediate_dim=80)
    if lora_rank:
        backbone.enable_lora(lora_rank, target_layer_names=list(targets))
    return backbone


def layout_map(device_mesh: Any, rules: dict[str, tuple[str | None, ...]] = RULES) -> Any:
    import keras

    made = keras.distribution.LayoutMap(device_mesh)
    for pattern, axes in rules.items():
        made[pattern] = axes
    return made


def set_distribution(made: Any) -> None:
    import keras

    keras.distribution.set_distribution(
        keras.distribution.ModelParallel(layout_map=made, batch_dim_name="batch", auto_shard_dataset=False)
    )


def failure(code: str, check: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    """The diagnostic with which a check must fail."""
    with pytest.raises(CheckFailed) as caught:
        check(*args, **kwargs)
    text = str(caught.value)
    assert caught.value.diagnosis.code == code
    assert text.startswith(f"{code}: ")
    assert "\nTry: " in text
    assert "kit lesson" not in text
    return text
