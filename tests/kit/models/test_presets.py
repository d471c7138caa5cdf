"""Presets in folders: found, read and refused."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from kit.errors import UserError
from kit.models.presets import BUNDLED_FOLDER, find_preset, require_memory
from kit.models.settings import TUTORIAL_SETTINGS, FinetuningSettings


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the bundled preset, to be damaged."""
    return Path(shutil.copytree(BUNDLED_FOLDER, tmp_path / "preset"))


#: As ``backbone.quantize("int8")`` and ``save_to_preset`` write it.
INT8_POLICIES = {
    "class_name": "DTypePolicyMap",
    "config": {
        "default_policy": None,
        "policy_map": {
            "token_embedding": {"class_name": "QuantizedDTypePolicy", "config": {"mode": "int8", "source_name": None}}
        },
    },
}


class TestFolders:
    def test_the_bundled_preset(self) -> None:
        preset = find_preset("bundled")
        architecture = preset.config["config"]
        assert architecture["num_query_heads"] == architecture["num_key_value_heads"] == 8
        assert preset.trained_on_reviews
        assert preset.settings.rank == TUTORIAL_SETTINGS.rank == 4

    def test_the_bundled_preset_takes_little_disk_space(self) -> None:
        assert sum(file.stat().st_size for file in BUNDLED_FOLDER.rglob("*") if file.is_file()) < 10e6

    def test_the_bundled_vocabulary_has_gemmas_ids(self) -> None:
        import sentencepiece

        file = BUNDLED_FOLDER / "assets" / "tokenizer" / "vocabulary.spm"
        vocabulary = sentencepiece.SentencePieceProcessor(model_proto=file.read_bytes())
        assert [vocabulary.id_to_piece(number) for number in range(4)] == ["<pad>", "<eos>", "<bos>", "<unk>"]

    def test_the_bundled_files_are_those_of_the_record(self) -> None:
        record = json.loads((BUNDLED_FOLDER / "recipe.json").read_text())
        assert len(record["sha256"]) == 2
        for name, expected in record["sha256"].items():
            assert hashlib.sha256((BUNDLED_FOLDER / name).read_bytes()).hexdigest() == expected
        losses = list(record["losses"].values())
        assert losses[-1] < losses[0] / 2

    def test_a_folder_has_its_own_settings_or_the_tutorials(self, copy: Path) -> None:
        assert find_preset(str(copy)).settings == find_preset("bundled").settings
        (copy / "finetuning.json").write_text('{"batches": 3}')
        assert find_preset(str(copy)).settings == FinetuningSettings(batches=3)
        (copy / "finetuning.json").unlink()
        assert find_preset(str(copy)).settings == TUTORIAL_SETTINGS

    @pytest.mark.parametrize("content", ["{", "[]", '{"batch": 3}', '{"batches": "many"}', '{"batches": -1}'])
    def test_damaged_settings(self, copy: Path, content: str) -> None:
        (copy / "finetuning.json").write_text(content)
        with pytest.raises(UserError, match=r"finetuning\.json|--batches"):
            find_preset(str(copy))

    @pytest.mark.parametrize(
        ("damage", "message"),
        [
            (lambda folder: (folder / "config.json").unlink(), r"has no config\.json"),
            (lambda folder: (folder / "config.json").write_text('{"class_'), r"config\.json is damaged"),
            (lambda folder: (folder / "config.json").write_text("[]"), r"config\.json is damaged"),
            (
                lambda folder: (folder / "config.json").write_text('{"class_name": "BertBackbone", "config": {}}'),
                "it is a BertBackbone; this program tunes Gemma 1, 2, 3 and 4",
            ),
            (lambda folder: (folder / "model.weights.h5").unlink(), "its weights, .* are missing"),
            (lambda folder: _cut(folder / "model.weights.h5"), "its weights, .* are damaged or truncated"),
            (lambda folder: (folder / "model.weights.h5").write_bytes(b"no HDF5"), "are damaged or truncated"),
            (lambda folder: (folder / "assets/tokenizer/vocabulary.spm").unlink(), "its vocabulary, .* is missing"),
            (lambda folder: _cut(folder / "assets/tokenizer/vocabulary.spm"), "its vocabulary, .* is damaged"),
        ],
    )
    def test_damage_is_named(self, copy: Path, damage: Any, message: str) -> None:
        damage(copy)
        with pytest.raises(UserError, match=message) as caught:
            find_preset(str(copy))
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("class_name", "sizes", "message"),
        [
            ("PaliGemmaBackbone", {}, "it is a PaliGemmaBackbone; this program tunes Gemma 1, 2, 3 and 4"),
            ("T5GemmaBackbone", {}, "it is a T5GemmaBackbone"),
            ("Gemma3Backbone", {"is_embedding_model": True}, "it computes embeddings, and no text"),
            ("Gemma4Backbone", {"num_layers": 4, "num_kv_shared_layers": 4}, "it is an assistant"),
            ("GemmaBackbone", {"num_layers": 0}, "at least one decoder block"),
            ("GemmaBackbone", {"dtype": "int8_from_float32"}, r"its weights are quantized \(int8\)"),
            ("GemmaBackbone", {"dtype": INT8_POLICIES}, r"its weights are quantized \(int8\)"),
        ],
    )
    def test_models_that_are_not_tuned(self, copy: Path, class_name: str, sizes: dict[str, Any], message: str) -> None:
        (copy / "config.json").write_text(json.dumps({"class_name": class_name, "config": sizes}))
        with pytest.raises(UserError, match=message) as caught:
            find_preset(str(copy))
        assert "\n" not in str(caught.value)

    def test_a_file_is_not_a_preset(self, copy: Path) -> None:
        with pytest.raises(UserError, match="this is a file"):
            find_preset(str(copy / "config.json"))

    def test_more_weights_than_memory(self) -> None:
        preset = find_preset("bundled")
        require_memory(preset, 10**9, available=2 * 10**9)
        with pytest.raises(UserError, match=r"34\.2 GB of weights, and this machine has 25\.0 GB"):
            require_memory(preset, 34_150_723_584, available=25 * 10**9)


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
