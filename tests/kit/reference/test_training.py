"""The reference training: the same losses on any mesh."""

import math
from typing import Any

import keras
import pytest
from bundled_model import load, load_plain

from kit.data.reviews import load_movie_reviews
from kit.reference import lora, mesh, reviews, training


@pytest.mark.train
class TestTraining:
    @pytest.mark.parametrize("shape", [(2, 4), (8, 1), None], ids=["2x4", "8x1", "one device"])
    def test_the_losses_are_the_same_on_each_mesh(self, devices: list[str], shape: tuple[int, int] | None) -> None:
        """Over 20 steps with batch 8, to 1e-5 relative: sums over shards have another order."""
        assert _losses_on(shape) == pytest.approx(_losses_on((1, 8)), rel=1e-5)


_LOSSES: dict[tuple[int, int] | None, list[float]] = {}


def _losses_on(shape: tuple[int, int] | None) -> list[float]:
    if shape in _LOSSES:
        return _LOSSES[shape]
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
