"""Gemma 3 and 4 over texts, in processes that keep TensorFlow out."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from command_line import run_python
from tiny_presets import write_tiny_preset

TEXTS = ["A film.", "Was it good? I do not think so, but it was long: two hours and <eos> a half."]

#: Prints the class that `CausalLM.from_preset` chooses for a Gemma 4.
LOOKUP = """
import sys
from kit.runtime.platform import prepare_environment
prepare_environment("cpu", 1)
import keras_hub
print(keras_hub.models.CausalLM.from_preset(sys.argv[1], load_weights=False).__class__.__name__)
assert not {"tensorflow", "tensorflow_text"} & set(sys.modules)
"""

#: Writes what KerasHub's own preprocessor, with TensorFlow, makes of texts as responses.
WITH_TENSORFLOW = """
import json
import sys
from kit.runtime.platform import prepare_environment
prepare_environment("cpu", 1, tensorflow=True)
import keras_hub
import numpy as np
preprocessor = keras_hub.models.CausalLMPreprocessor.from_preset(sys.argv[1], sequence_length=int(sys.argv[2]))
texts = json.loads(sys.argv[3])
x, y, weight = preprocessor({"prompts": [""] * len(texts), "responses": texts})
prompt = preprocessor.generate_preprocess(texts)
arrays = {**x, "y": y, "weight": weight, **{f"prompt_{name}": value for name, value in prompt.items()}}
print(json.dumps({name: np.asarray(value).astype(int).tolist() for name, value in arrays.items()}))
"""


@pytest.fixture(scope="module", params=["gemma3", "gemma4_e2b"])
def preset(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_preset(request.param, tmp_path_factory.mktemp("presets") / request.param)


def test_texts_become_tokens(preset: Path) -> None:
    import keras_hub

    preprocessor = keras_hub.models.CausalLMPreprocessor.from_preset(str(preset), sequence_length=12)
    x, y, weight = preprocessor(TEXTS)
    tokens = [preprocessor.tokenizer(text) for text in TEXTS]
    short = [2, *tokens[0], 1]
    assert 4 < len(short) < 12 < len(tokens[1])
    assert x["token_ids"][0].tolist() == short + [0] * (12 - len(short))
    assert x["token_ids"][1].tolist() == [2, *tokens[1][:11]]
    assert y[0].tolist() == [*short[1:], *[0] * (13 - len(short))]
    assert weight[0].tolist() == [True] * (len(short) - 1) + [False] * (13 - len(short))
    assert weight[1].all()
    if "gemma4" in preset.name:
        assert x["position_ids"].tolist() == [list(range(12))] * 2
    one = preprocessor.generate_preprocess(TEXTS[0], sequence_length=9)
    assert one["token_ids"].tolist() == [2, *tokens[0], *[0] * (8 - len(tokens[0]))]
    assert preprocessor.generate_postprocess(one) == TEXTS[0]


def test_kerashub_with_tensorflow_makes_the_same_arrays(preset: Path) -> None:
    """KerasHub's own preprocessor takes prompts and responses; here the prompt is empty."""
    import keras_hub

    printed = run_python(WITH_TENSORFLOW, str(preset), "40", json.dumps(TEXTS)).stdout.splitlines()[-1]
    expected = json.loads(printed)
    preprocessor = keras_hub.models.CausalLMPreprocessor.from_preset(str(preset), sequence_length=40)
    x, y, weight = preprocessor(TEXTS)
    prompts = preprocessor.generate_preprocess(TEXTS)
    found = {**x, "y": y, "weight": weight, **{f"prompt_{name}": value for name, value in prompts.items()}}
    # Generation does not read positions: KerasHub's preprocessor returns them for training alone.
    found.pop("prompt_position_ids", None)
    assert set(found) <= set(expected)
    assert {"token_ids", "padding_mask", "prompt_token_ids"} <= set(found)
    for name, value in found.items():
        np.testing.assert_array_equal(np.asarray(value).astype(int), expected[name], err_msg=name)


def test_a_dictionary_is_refused_with_the_reason(preset: Path) -> None:
    import keras_hub

    preprocessor = keras_hub.models.CausalLMPreprocessor.from_preset(str(preset))
    for call in (preprocessor, preprocessor.generate_preprocess):
        with pytest.raises(ValueError, match="takes texts here, and not a dictionary"):
            call({"prompts": TEXTS, "responses": TEXTS})


@pytest.mark.parametrize("order", [1, -1])
def test_the_order_of_a_set_does_not_choose_the_class(order: int, monkeypatch: pytest.MonkeyPatch) -> None:
    import keras_hub
    from keras_hub.src.models import task
    from keras_hub.src.utils import preset_utils

    models = keras_hub.models
    classes = [models.Gemma4CausalLM, models.Gemma4AssistantCausalLM, models.Gemma3CausalLM][::order]
    monkeypatch.setattr(preset_utils, "list_subclasses", lambda cls: classes)
    find = task.find_subclass
    assert find("a preset", models.CausalLM, models.Gemma4Backbone) is models.Gemma4CausalLM
    assert find("a preset", models.CausalLM, models.Gemma3Backbone) is models.Gemma3CausalLM
    with pytest.raises(ValueError, match="Unable to find a subclass"):
        find("a preset", models.CausalLM, models.BertBackbone)


@pytest.mark.long
def test_gemma_4_is_a_gemma_4_in_20_of_20_processes(tmp_path: Path) -> None:
    preset = write_tiny_preset("gemma4", tmp_path / "preset")
    found = [
        run_python(LOOKUP, str(preset), env={**os.environ, "PYTHONHASHSEED": str(seed)}).stdout.strip()
        for seed in range(20)
    ]
    assert found == ["Gemma4CausalLM"] * 20


def test_keras_hub_imported_before_the_kit_takes_texts_too() -> None:
    code = """
import os, sys
os.environ["KERAS_BACKEND"] = "jax"
sys.modules["tensorflow"] = sys.modules["tensorflow_text"] = None
import keras_hub
del sys.modules["tensorflow"], sys.modules["tensorflow_text"]
from kit.runtime.platform import keep_tensorflow_out
keep_tensorflow_out()
keras_hub.models.Gemma3CausalLMPreprocessor(tokenizer=None)
"""
    run_python(code)
