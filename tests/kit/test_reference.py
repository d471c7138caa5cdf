"""The reference parts where more is asked of them than of a learner's; the rest is asked by tests/exercises."""

import math
from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np
import pytest

from kit.models.presets import BUNDLED_FOLDER
from kit.reference import checkpoint, layout, loading, lora, mesh, reviews, training

PROMPT = "Best comedy movies in the 90s "


def load(device_mesh: Any, **options: Any) -> Any:
    model = loading.load_distributed(str(BUNDLED_FOLDER), layout.gemma_layout_map(device_mesh), **options)
    model.preprocessor.sequence_length = 32
    return model


def load_plain() -> Any:
    """The twin: no distribution, as KerasHub loads it."""
    keras.distribution.set_distribution(None)
    model = keras_hub.models.CausalLM.from_preset(str(BUNDLED_FOLDER))
    model.preprocessor.sequence_length = 32
    return model


@pytest.mark.train
class TestTraining:
    @pytest.mark.parametrize("shape", [(2, 4), (8, 1), None], ids=["2x4", "8x1", "one device"])
    def test_the_losses_are_those_of_any_mesh(self, devices: list[str], shape: tuple[int, int] | None) -> None:
        """Twenty steps at batch 8 on (1, 8) and on another mesh: 1e-5 relative, since sums over shards are reordered."""
        assert _losses_on(shape) == pytest.approx(_losses_on((1, 8)), rel=1e-5)


_LOSSES: dict[tuple[int, int] | None, list[float]] = {}


def _losses_on(shape: tuple[int, int] | None) -> list[float]:
    if shape in _LOSSES:
        return _LOSSES[shape]
    from kit.data.reviews import load_movie_reviews

    keras.utils.set_random_seed(0)
    model = load_plain() if shape is None else load(mesh.make_device_mesh(*shape))
    lora.enable_lora(model, 4)
    training.compile_for_finetuning(model, 5e-3, 0.01)
    model.optimizer.build(model.trainable_variables)
    step = training.make_train_step(model)
    state: Any = tuple(
        [variable.value for variable in variables]
        for variables in (model.trainable_variables, model.non_trainable_variables, model.optimizer.variables)
    )
    losses = []
    for batch in reviews.prepare_reviews(load_movie_reviews(), 8, 20, seed=0):
        state, loss = step(state, model.preprocessor(batch))
        losses.append(float(loss))
    assert len(losses) == 20
    assert all(math.isfinite(loss) and loss > 1 for loss in losses)
    _LOSSES[shape] = losses
    return losses


class TestCheckpoint:
    def trained(self, shape: tuple[int, int], rank: int, seed: int = 0) -> Any:
        keras.utils.set_random_seed(seed)
        model = load(mesh.make_device_mesh(*shape))
        if rank:
            lora.enable_lora(model, rank)
        training.compile_for_finetuning(model, 1e-3, 0.01)
        return model

    def test_a_save_is_new_and_whole(self, mesh_1x8: Any, tmp_path: Path) -> None:
        model = self.trained((1, 8), 4)
        checkpoint.save_training(model, tmp_path / "save")
        assert [path.name for path in (tmp_path / "save").iterdir()] == [checkpoint.STATE_FILE]
        with pytest.raises(FileExistsError):
            checkpoint.save_training(model, tmp_path / "save")

    def test_another_model_is_refused(self, mesh_1x8: Any, tmp_path: Path) -> None:
        checkpoint.save_training(self.trained((1, 8), 4), tmp_path / "save")
        with pytest.raises(ValueError, match="LoRA with the same rank"):
            checkpoint.resume_training(self.trained((1, 8), 2), tmp_path / "save")

    def test_merging(self, mesh_1x8: Any, reviews: list[str], tmp_path: Path) -> None:
        model = self.trained((1, 8), 4)
        untrained = np.asarray(model.predict_on_batch(reviews))
        training.finetune(model, [reviews[:8], reviews[8:]])
        expected = np.asarray(model.predict_on_batch(reviews))
        assert np.abs(expected - untrained).max() > 1e-2
        checkpoint.merge_adapters(model)
        assert not model.trainable_variables
        # kernel + A@B is the same sum, once more through float32.
        np.testing.assert_allclose(np.asarray(model.predict_on_batch(reviews)), expected, rtol=1e-5, atol=1e-5)
        # And it is a preset that anything loads.
        model.save_to_preset(str(tmp_path / "merged"))
        keras.distribution.set_distribution(None)
        plain = keras_hub.models.CausalLM.from_preset(str(tmp_path / "merged"))
        plain.preprocessor.sequence_length = 32
        np.testing.assert_allclose(np.asarray(plain.predict_on_batch(reviews)), expected, rtol=1e-4, atol=1e-4)
