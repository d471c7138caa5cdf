"""Models in the format of transformers: the numbers that KerasHub's models compute."""

import gc
import json
from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np
import pytest
import tokenizers
import transformers_models as tiny

from kit.errors import UserError
from kit.evidence.placement import nbytes_per_device
from kit.models.architectures import find_architecture
from kit.models.presets import find_preset
from kit.models.sharded_loading import LoadingReport, load_slice_by_slice
from kit.models.transformers_format import text_models
from kit.models.weightless import weightless_variables

FAMILIES = sorted(tiny.CONFIGS)
TEXTS = ["A film about a film.", "  Two  spaces, 1999 — and “quotes”\nin two lines: ☃"]


def load(folder: Path, **options: Any) -> Any:
    with text_models():
        return keras_hub.models.Backbone.from_preset(str(folder), **options)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_logits(tmp_path: Path, family: str) -> None:
    backbone = tiny.write_model(tmp_path, family, shards=1 + FAMILIES.index(family) % 3)
    preset = find_preset(str(tmp_path))
    loaded = load(tmp_path)
    expected = tiny.logits(backbone)
    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(tiny.logits(loaded), expected, rtol=0, atol=1e-6)
    with text_models():
        model = keras_hub.models.CausalLM.from_preset(str(tmp_path))
    assert type(model).__name__.removesuffix("CausalLM") == type(backbone).__name__.removesuffix("Backbone")
    model.preprocessor.sequence_length = 16
    assert model.predict_on_batch(["A film."]).shape == (1, 16, backbone.vocabulary_size)
    described = {one.path: one.shape for one in weightless_variables(preset.config)}
    assert described == {variable.path: tuple(variable.shape) for variable in loaded.variables}


def test_weights_in_bfloat16(tmp_path: Path) -> None:
    backbone = tiny.write_model(tmp_path, "gemma3_text", dtype="bfloat16")
    loaded = load(tmp_path)
    for mine, right in zip(loaded.variables, backbone.variables, strict=True):
        assert mine.dtype == "float32"
        np.testing.assert_allclose(mine, right, rtol=2**-8, atol=1e-30)
    half = load(tmp_path, dtype="bfloat16")
    assert {str(variable.dtype) for variable in half.variables} == {"bfloat16"}
    np.testing.assert_array_equal(np.asarray(half.variables[0], "float32"), np.asarray(loaded.variables[0]))


@pytest.mark.parametrize("family", ["gemma", "gemma4_experts"])
def test_no_device_holds_more_than_its_slices_while_loading(tmp_path: Path, devices: list[str], family: str) -> None:
    backbone = tiny.write_model(tmp_path, family)
    mesh = keras.distribution.DeviceMesh((4, 2), ["batch", "model"], devices)
    layout_map = keras.distribution.LayoutMap(mesh)
    layout_map["token_embedding/embeddings"] = ("model", None)
    layout_map[".*attention/query/kernel"] = ("model", None, None)
    layout_map[".*attention/attention_output/kernel"] = ("model", None, None)
    layout_map[".*ffw_gating(_2)?/kernel"] = (None, "model")
    layout_map[".*moe_expert_bank/(gate|up|down)_proj"] = ("model", None, None)
    distribution = keras.distribution.ModelParallel(layout_map=layout_map, batch_dim_name="batch")
    keras.distribution.set_distribution(distribution)
    # Arrays of earlier tests would be freed while the model is loaded.
    gc.collect()
    before = LoadingReport()
    before.record()
    with load_slice_by_slice() as report:
        loaded = load(tmp_path)
    held = nbytes_per_device(loaded.variables)
    assert len(held) == 8
    assert max(held.values()) < 0.75 * sum(variable.value.nbytes for variable in loaded.variables)
    for device, peak in report.peak_nbytes.items():
        # Beside the weights, a counter at most; the smallest matrix has 576 bytes.
        assert held[device] <= peak - before.peak_nbytes[device] <= held[device] + 16
    for mine, right in zip(loaded.variables, backbone.variables, strict=True):
        np.testing.assert_array_equal(mine, right)


def test_a_tokenizer_json_tokenizes_as_the_tokenizers_package(tmp_path: Path) -> None:
    for family in ("gemma3_text", "gemma4"):
        folder = tmp_path / family
        tiny.write_model(folder, family)
        (folder / "tokenizer.model").unlink(missing_ok=True)
        content = tiny.fast_tokenizer(tiny.GEMMA4_TOKENS)
        (folder / "tokenizer.json").write_text(json.dumps(content))
        find_preset(str(folder))
        with text_models():
            tokenizer = keras_hub.models.Tokenizer.from_preset(str(folder))
        right = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        for text in TEXTS:
            found = [int(token) for token in tokenizer(text)]
            assert found == right.encode(text, add_special_tokens=False).ids
            assert tokenizer.detokenize(found) == text


def test_a_configuration_is_enough_for_a_plan(tmp_path: Path) -> None:
    """Gemma 3 4B as Hugging Face has it: what transformers does not write is its default."""
    content = {
        "architectures": ["Gemma3ForConditionalGeneration"],
        "model_type": "gemma3",
        "text_config": {
            "hidden_size": 2560,
            "intermediate_size": 10_240,
            "model_type": "gemma3_text",
            "num_hidden_layers": 34,
            "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
            "sliding_window": 1024,
        },
        "vision_config": {"hidden_size": 1152, "image_size": 896, "model_type": "siglip_vision_model"},
    }
    (tmp_path / "config.json").write_text(json.dumps(content))
    mine = weightless_variables(find_architecture(str(tmp_path)))
    right = weightless_variables(find_architecture("gemma3_4b_text"))
    # Hugging Face's embeddings have 64 more rows, for images.
    assert sum(one.size for one in mine) == sum(one.size for one in right) + 64 * 2560


def changed(folder: Path, **values: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


@pytest.fixture
def gemma(tmp_path: Path) -> Path:
    tiny.write_model(tmp_path, "gemma", shards=2)
    return tmp_path


def refused(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        find_preset(str(folder))
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestMistakes:
    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"model_type": "llama"}, "it is a llama; this program tunes Gemma models only"),
            ({"model_type": "gemma3n"}, "it is a Gemma 3n, whose layers have other names and shapes"),
            ({"model_type": "gemma4_assistant"}, "it is an assistant, which drafts text for a Gemma 4"),
            ({"model_type": "gemma5"}, "it is a gemma5, which KerasHub cannot convert to a text model"),
            ({"quantization_config": {"bits": 4}}, "its weights are quantized"),
            ({"use_bidirectional_attention": True}, "it makes embeddings, and does not generate text"),
            ({"hidden_size": None}, "hidden_size in its config.json is None, and must be a positive whole number"),
            ({"num_hidden_layers": "two"}, "num_hidden_layers in its config.json is 'two'"),
            ({"head_dim": 0}, "head_dim in its config.json is 0"),
        ],
    )
    def test_configurations(self, gemma: Path, values: dict[str, Any], message: str) -> None:
        changed(gemma, **values)
        assert message in refused(gemma)

    def test_a_missing_size(self, gemma: Path) -> None:
        content = json.loads((gemma / "config.json").read_text())
        del content["hidden_size"]
        (gemma / "config.json").write_text(json.dumps(content))
        assert "hidden_size in its config.json is missing, and must be a positive whole number" in refused(gemma)

    def test_files(self, gemma: Path) -> None:
        shard = gemma / "model-00002-of-00002.safetensors"
        whole = shard.read_bytes()
        shard.write_bytes(whole[:-100])
        assert f"{shard.name} is damaged or truncated ({len(whole) - 100:,} bytes)" in refused(gemma)
        shard.write_bytes(b"<html>Welcome! Please log in.</html>")
        assert f"{shard.name} is damaged" in refused(gemma)
        shard.unlink()
        assert f"its weights, {shard.name}, are missing" in refused(gemma)
        shard.write_bytes(whole)
        (gemma / "model.safetensors.index.json").write_text("{}")
        assert "model.safetensors.index.json is damaged" in refused(gemma)
        (gemma / "model.safetensors.index.json").unlink()
        assert "its weights, model.safetensors, are missing" in refused(gemma)

    def test_tokenizers(self, gemma: Path) -> None:
        (gemma / "tokenizer.model").write_bytes(b"no vocabulary")
        assert "its vocabulary, tokenizer.model, is damaged" in refused(gemma)
        (gemma / "tokenizer.model").unlink()
        assert "it has no tokenizer.model, which KerasHub needs for a gemma" in refused(gemma)

    def test_a_damaged_tokenizer_json(self, tmp_path: Path) -> None:
        tiny.write_model(tmp_path, "gemma4")
        (tmp_path / "tokenizer.json").write_text('{"model": {}}')
        assert "its tokenizer.json is damaged, or not a Gemma's" in refused(tmp_path)
        (tmp_path / "tokenizer.json").unlink()
        assert "it has no tokenizer.json, which KerasHub needs for a gemma4_text" in refused(tmp_path)

    def test_a_head_of_its_own(self, gemma: Path) -> None:
        backbone = tiny.random_backbone("gemma")
        tensors = tiny.tensors_of("gemma", backbone)
        head = {"lm_head.weight": np.ones_like(backbone.token_embedding.embeddings)}
        tiny.write_weights(gemma, tensors | head, shards=2)
        find_preset(str(gemma))
        changed(gemma, tie_word_embeddings=False)
        assert "it has an lm_head of its own" in refused(gemma)

    def test_a_missing_tensor(self, tmp_path: Path) -> None:
        """No other tensor whose name ends alike is taken for it, as KerasHub's loader would."""
        backbone = tiny.write_model(tmp_path, "gemma3")
        tensors = tiny.tensors_of("gemma3", backbone)
        del tensors["language_model.model.layers.0.mlp.up_proj.weight"]
        tiny.write_weights(tmp_path, tensors)
        with pytest.raises(KeyError, match=r"layers\.0\.mlp\.up_proj\.weight is not among the weights"):
            load(tmp_path)
