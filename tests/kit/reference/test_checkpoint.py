"""The reference checkpoints, and merging."""

from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np
import pytest
from bundled_model import load

from kit.reference import checkpoint, lora, mesh, training


class TestCheckpoint:
    def trained(self, shape: tuple[int, int], rank: int, seed: int = 0) -> Any:
        keras.utils.set_random_seed(seed)
        model = load(mesh.make_device_mesh(*shape))
        if rank:
            lora.enable_lora(model, rank)
        training.compile_for_finetuning(model, 1e-3, 0.01)
        return model

    def test_a_checkpoint_is_one_file_and_never_overwritten(self, mesh_1x8: Any, tmp_path: Path) -> None:
        model = self.trained((1, 8), 4)
        checkpoint.save_training(model, tmp_path / "checkpoint")
        assert [path.name for path in (tmp_path / "checkpoint").iterdir()] == [checkpoint.STATE_FILE]
        with pytest.raises(FileExistsError):
            checkpoint.save_training(model, tmp_path / "checkpoint")

    def test_another_model_is_refused(self, mesh_1x8: Any, tmp_path: Path) -> None:
        checkpoint.save_training(self.trained((1, 8), 4), tmp_path / "checkpoint")
        with pytest.raises(ValueError, match="LoRA rank of the saved one"):
            checkpoint.resume_training(self.trained((1, 8), 2), tmp_path / "checkpoint")

    def test_merging(self, mesh_1x8: Any, reviews: list[str], tmp_path: Path) -> None:
        model = self.trained((1, 8), 4)
        untrained = np.asarray(model.predict_on_batch(reviews))
        training.finetune(model, [reviews[:8], reviews[8:]])
        expected = np.asarray(model.predict_on_batch(reviews))
        assert np.abs(expected - untrained).max() > 1e-2
        checkpoint.merge_adapters(model)
        assert not model.trainable_variables
        # kernel + A@B is the same sum, rounded to float32 again.
        np.testing.assert_allclose(np.asarray(model.predict_on_batch(reviews)), expected, rtol=1e-5, atol=1e-5)
        # KerasHub loads it as a preset.
        model.save_to_preset(str(tmp_path / "merged"))
        keras.distribution.set_distribution(None)
        plain = keras_hub.models.CausalLM.from_preset(str(tmp_path / "merged"))
        plain.preprocessor.sequence_length = 32
        np.testing.assert_allclose(np.asarray(plain.predict_on_batch(reviews)), expected, rtol=1e-4, atol=1e-4)
