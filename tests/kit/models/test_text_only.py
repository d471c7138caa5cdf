"""The text part of presets with encoders: the logits of the complete model, from its own files."""

import shutil
from pathlib import Path
from typing import Any

import h5py
import jax
import keras
import keras_hub
import numpy as np
import pytest
from made_run import read
from tiny_presets import SIZES, VOCABULARY_SIZE, WITH_VISION, write_tiny_preset

from kit.evidence.placement import nbytes_per_device
from kit.models.presets import BUNDLED_FOLDER, find_preset
from kit.models.sharded_loading import LoadingReport, load_slice_by_slice
from kit.models.text_only import encoders, text_only_presets
from kit.models.weightless import weightless_variables
from kit.parts.implementation import find_parts
from kit.run.loading import load_model

LENGTH = 24
ROWS = 2
#: Inputs of a model with encoders for texts alone: no image, no clip.
NO_IMAGES = {
    "gemma3": {
        "images": np.zeros((ROWS, 0, 16, 16, 3)),
        "vision_indices": np.zeros((ROWS, 0), "int32"),
        "vision_mask": np.zeros((ROWS, LENGTH), "int32"),
    },
    "gemma4": {
        "pixel_values": np.zeros((ROWS, 0, 4, 48)),
        "pixel_position_ids": np.zeros((ROWS, 0, 4, 2), "int32"),
        "vision_indices": np.zeros((ROWS, 0), "int32"),
        "vision_mask": np.zeros((ROWS, LENGTH), "int32"),
        "audio_mel": np.zeros((ROWS, 0, 1, 32)),
        "audio_mel_mask": np.zeros((ROWS, 0, 1), "int32"),
        "audio_indices": np.zeros((ROWS, 0), "int32"),
        "audio_mask": np.zeros((ROWS, LENGTH), "int32"),
    },
}


@pytest.fixture(scope="module", params=list(WITH_VISION))
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def preset(family: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_preset(family, tmp_path_factory.mktemp("presets") / family)


@pytest.fixture(scope="module")
def complete_logits(family: str, preset: Path) -> np.ndarray:
    """Logits of the complete model, which has its encoders, for texts."""
    keras.distribution.set_distribution(None)
    backbone = keras_hub.models.Backbone.from_preset(str(preset))
    assert backbone.vision_encoder is not None
    return logits(backbone, NO_IMAGES[family.partition("_")[0]])


def logits(backbone: Any, more: dict[str, np.ndarray] | None = None) -> np.ndarray:
    """Longer than the sliding windows; one row has padding."""
    tokens = np.random.default_rng(1).integers(4, VOCABULARY_SIZE, (ROWS, LENGTH))
    given = {
        "token_ids": tokens,
        "padding_mask": (np.arange(LENGTH) < [[LENGTH], [LENGTH - 5]]).astype("int32"),
        "position_ids": np.broadcast_to(np.arange(LENGTH), (ROWS, LENGTH)),
        **(more or {}),
    }
    inputs = {tensor.name: given[tensor.name] for tensor in backbone.inputs}

    def compute(x: dict[str, np.ndarray]) -> Any:
        return backbone.token_embedding(backbone(x), reverse=True)

    # Compiling each operation of a Gemma 4 by itself takes a minute. As one program, XLA fuses the
    # complete model and its text part differently; that alone differs by 1.2e-6 in this Gemma 3.
    return np.asarray((jax.jit(compute) if "position_ids" in inputs else compute)(inputs))


def expect_equal(found: np.ndarray, expected: np.ndarray) -> None:
    """Within 1e-6 of the largest logit."""
    assert np.abs(found - expected).max() <= 1e-6 * np.abs(expected).max()


def text_only(preset: Path) -> Any:
    with text_only_presets():
        return keras_hub.models.CausalLM.from_preset(str(preset))


def test_the_logits_of_the_complete_model(preset: Path, complete_logits: np.ndarray) -> None:
    backbone = text_only(preset).backbone
    assert backbone.text_only_model
    assert np.abs(complete_logits).max() > 0.1
    expect_equal(logits(backbone), complete_logits)
    # Presets load with their encoders again.
    assert not keras_hub.models.Backbone.from_preset(str(preset)).text_only_model


def test_the_encoders_are_not_read(preset: Path, complete_logits: np.ndarray, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(preset, tmp_path / "preset"))
    with h5py.File(folder / "model.weights.h5", "a") as weights:
        layers = weights["layers"]
        removed = [name for name in layers if name.endswith("_encoder")]
        for name in removed:
            del layers[name]
    assert len(removed) == len(find_preset(str(preset)).left_out) >= 1
    with pytest.raises(ValueError, match="objects could not be loaded"):
        keras_hub.models.Backbone.from_preset(str(folder))
    expect_equal(logits(text_only(folder).backbone), complete_logits)


def test_a_preset_without_task_and_preprocessor(preset: Path, complete_logits: np.ndarray, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(preset, tmp_path / "preset"))
    (folder / "task.json").unlink()
    (folder / "preprocessor.json").unlink()
    model = text_only(folder)
    assert model.preprocessor.image_converter is None
    expect_equal(logits(model.backbone), complete_logits)


def test_slices_of_sharded_weights(preset: Path, complete_logits: np.ndarray, mesh_2x4: Any, tmp_path: Path) -> None:
    """Each device reads its slices from several files; nothing is whole on one device."""
    folder = Path(shutil.copytree(preset, tmp_path / "preset"))
    size = (folder / "model.weights.h5").stat().st_size
    keras_hub.models.Backbone.from_preset(str(folder)).save_to_preset(str(folder), max_shard_size=size / 4 / 1024**3)
    (folder / "model.weights.h5").unlink()
    assert len(list(folder.glob("model_*.weights.h5"))) >= 3
    # The tutorial's rules for embeddings; the heads of these models are too few for others.
    layout_map = keras.distribution.LayoutMap(mesh_2x4)
    layout_map["(token_embedding|per_layer_token_embedding)/embeddings"] = ("model", None)
    layout_map["decoder_block.*(ffw_gating|ffw_gating_2)/kernel"] = (None, "model")
    layout_map["decoder_block.*ffw_linear/kernel"] = ("model", None)
    found = find_preset(str(folder))
    before = LoadingReport()
    before.record()
    with load_slice_by_slice() as report:
        model = load_model(find_parts("reference").loading, found, layout_map, "float32")
    sharded = nbytes_per_device(model.backbone.variables)
    expected = weightless_variables(found.config)
    assert {variable.path: tuple(variable.shape) for variable in model.backbone.variables} == {
        one.path: one.shape for one in expected
    }
    assert max(sharded.values()) < 0.7 * sum(one.nbytes for one in expected)
    # Other tests' models are on the first device.
    peaks = {device: nbytes - before.peak_nbytes[device] for device, nbytes in report.peak_nbytes.items()}
    assert set(peaks) == set(sharded)
    assert max(peaks.values()) < 1.01 * max(sharded.values())
    np.testing.assert_allclose(logits(model.backbone), complete_logits, rtol=1e-5, atol=1e-5)


def test_encoders_are_left_out_of_the_configuration(family: str, preset: Path) -> None:
    found = find_preset(str(preset))
    audio = ("audio encoder",) if family.endswith("audio") else ()
    assert found.left_out == ("vision encoder", *audio)
    assert encoders(found.config) == ()
    given = read(preset / "config.json")["config"]
    sizes = SIZES[WITH_VISION[family]]
    assert {name: found.config["config"][name] for name in sizes} == {name: given[name] for name in sizes}
    assert found.config["config"]["image_size"] is None


def test_a_text_preset_is_unchanged() -> None:
    assert find_preset("bundled").left_out == ()
    assert find_preset("bundled").config == read(BUNDLED_FOLDER / "config.json")


def test_encoders_of_transformers() -> None:
    config: dict[str, Any] = {"model_type": "gemma4", "text_config": {}, "vision_config": {"hidden_size": 8}}
    assert encoders({**config, "audio_config": None}) == ("vision encoder",)
    assert encoders({**config, "audio_config": {"hidden_size": 8}}) == ("vision encoder", "audio encoder")
    assert encoders({"model_type": "gemma4_text"}) == ()
