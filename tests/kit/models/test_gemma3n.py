"""Gemma 3n is refused. These are the facts behind the sentence, which a new KerasHub may change."""

import re
from typing import Any

import keras_hub
import pytest
from made_run import write

from kit.errors import UserError
from kit.models.presets import find_preset
from kit.models.weightless import describe, no_weights
from kit.parts.implementation import find_parts

SIZES: dict[str, Any] = {
    "text_vocab_size": 640,
    "text_hidden_size": 40,
    "num_hidden_layers": 2,
    "pad_token_id": 0,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 12,
    "intermediate_size": [88, 88],
    "hidden_activation": "gelu_approximate",
    "layer_types": ["sliding_attention", "full_attention"],
    "sliding_window": 16,
    "rope_theta": 1e6,
    "max_position_embeddings": 128,
    "vocab_size_per_layer_input": 640,
    "hidden_size_per_layer_input": 8,
    "altup_num_inputs": 4,
    "laurel_rank": 4,
}


@pytest.fixture(scope="module")
def backbone() -> Any:
    with no_weights():
        yield keras_hub.models.Gemma3nBackbone(**SIZES)


def test_it_is_refused(tmp_path: Any) -> None:
    write(tmp_path / "config.json", {"class_name": "Gemma3nBackbone", "config": SIZES})
    with pytest.raises(UserError, match="it is a Gemma 3n, whose layers have other names and shapes: neither LoRA on"):
        find_preset(str(tmp_path))


def test_no_rule_of_the_layout_matches(backbone: Any, mesh_1x8: Any) -> None:
    rules = list(find_parts("reference").layout.gemma_layout_map(mesh_1x8).keys())
    paths = [variable.path for variable in describe(backbone.variables)]
    assert len(rules) >= 5
    assert len(paths) >= 50
    assert not [path for path in paths for rule in rules if re.fullmatch(rule, path)]


def test_no_layer_is_called_query_or_value(backbone: Any) -> None:
    """Also KerasHub's own default targets match none, so that nothing is trained."""
    names = {layer.name for layer in backbone._flatten_layers()}
    assert {"q_proj", "v_proj"} <= names
    assert not {"query", "value", "query_dense", "value_dense"} & names
    backbone.enable_lora(4)
    assert backbone.trainable_variables == []
