"""Tiny presets of each family: loading, generation, training and resuming, on meshes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import keras
import keras_hub
import numpy as np
import pytest
from tiny_presets import SIZES, write_tiny_preset

from kit.models.preprocessor import preprocess_one_at_a_time
from kit.models.presets import find_preset
from kit.models.sharded_loading import load_slice_by_slice
from kit.parts.implementation import find_parts
from kit.reference import checkpoint, generation, lora, mesh, training
from kit.run.layouts import choose_layout
from kit.run.loading import load_model

#: Longer than the sliding windows of all families.
LENGTH = 32
TEXTS = [
    f"The {subject} of this film was {word}, and I would watch it again, if only for the music of its second half."
    for subject in ("plot", "cast", "script", "ending")
    for word in ("dull", "great", "odd", "so-so")
]
BATCHES = [TEXTS[:8], TEXTS[8:]]
#: A smaller difference between the logits of the last expert that is chosen and the first that is
#: not could be decided by rounding.
ROUTER_MARGIN = 1e-3

#: The mesh of a family in the default layers; the others are long.
QUICK = {
    "gemma": (2, 4),
    "gemma2": (2, 4),
    "gemma3": (1, 8),
    "gemma4": (8, 1),
    "gemma4_moe": (1, 8),
    "gemma4_e2b": (2, 4),
}
#: The families that generate in the default layers.
GENERATED = ("gemma3", "gemma4_e2b")
CASES = [
    pytest.param(family, shape, marks=() if QUICK[family] == shape else pytest.mark.long)
    for family in SIZES
    for shape in ((1, 8), (2, 4), (8, 1))
]


@dataclass(frozen=True)
class Trained:
    """A model after one step with each batch."""

    model: keras_hub.models.CausalLM
    losses: list[float]
    #: Path -> value of what was trained.
    values: dict[str, np.ndarray]


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function that returns the folder of a family's preset."""
    folder = tmp_path_factory.mktemp("presets")

    def find(family: str) -> Path:
        return folder / family if (folder / family).exists() else write_tiny_preset(family, folder / family)

    return find


@pytest.fixture(scope="module")
def alone_of(folder_of: Callable[[str], Path]) -> Callable[[str], Trained]:
    """A function that returns a family's model as it is trained without a distribution."""
    trained: dict[str, Trained] = {}

    def find(family: str) -> Trained:
        if family not in trained:
            trained[family] = train(load(folder_of(family)), BATCHES)
        return trained[family]

    return find


def load(folder: Path, shape: tuple[int, int] | None = None) -> keras_hub.models.CausalLM:
    """Load on a mesh as `kit run` does, or without a distribution as KerasHub does."""
    if shape is None:
        keras.distribution.set_distribution(None)
        model = keras_hub.models.CausalLM.from_preset(str(folder))
    else:
        parts, preset = find_parts("reference"), find_preset(str(folder))
        layout = choose_layout(parts, preset.config, shape).make(mesh.make_device_mesh(*shape))
        with load_slice_by_slice():
            model = load_model(parts.loading, preset, layout, "float32")
    model.preprocessor.sequence_length = LENGTH
    preprocess_one_at_a_time(model)
    keras.utils.set_random_seed(0)
    lora.enable_lora(model, 4)
    training.compile_for_finetuning(model, 1e-3, 0.01)
    return model


def train(model: keras_hub.models.CausalLM, batches: list[list[str]]) -> Trained:
    """Train one step with each batch."""
    losses = []
    for batch in batches:
        expect_router_margins(model, batch)
        losses.append(training.finetune(model, [batch]).history["loss"][0])
    values = {variable.path: np.asarray(variable.value) for variable in model.trainable_variables}
    return Trained(model, losses, values)


def expect_router_margins(model: keras_hub.models.CausalLM, batch: list[str]) -> None:
    """The experts of each token are not a matter of rounding."""
    routers = {block.moe_router.proj: block.num_experts_per_token for block in blocks_with_experts(model)}
    if not routers or keras.distribution.distribution() is not None:
        return
    inputs, _, _ = model.preprocessor(batch)
    real = np.asarray(inputs["padding_mask"], dtype=bool).ravel()

    def logits_of_routers(trainable: list[Any], others: list[Any]) -> list[Any]:
        found = []

        def call(self: keras.layers.Dense, x: Any, training: bool | None = None) -> Any:
            outputs = original(self, x, training)
            if self in routers:
                found.append(outputs)
            return outputs

        original, keras.layers.Dense.call = keras.layers.Dense.call, call
        try:
            model.backbone.stateless_call(trainable, others, inputs)
        finally:
            keras.layers.Dense.call = original
        return found

    backbone = model.backbone
    groups = (backbone.trainable_variables, backbone.non_trainable_variables)
    logits = jax.jit(logits_of_routers)(*([variable.value for variable in group] for group in groups))
    assert len(logits) == len(routers)
    for found, chosen in zip(logits, routers.values(), strict=True):
        ordered = np.sort(np.asarray(found)[real], axis=-1)[:, ::-1]
        assert (ordered[:, chosen - 1] - ordered[:, chosen]).min() > ROUTER_MARGIN


def blocks_with_experts(model: keras_hub.models.CausalLM) -> list[Any]:
    """The decoder blocks that have a mixture of experts."""
    return [block for block in model.backbone.transformer_layers if getattr(block, "enable_moe_block", False)]


@pytest.mark.parametrize(("family", "shape"), CASES)
def test_a_mesh_changes_no_loss(
    family: str, shape: tuple[int, int], folder_of: Any, alone_of: Any, tmp_path: Path
) -> None:
    alone = alone_of(family)
    assert alone.losses[0] > 4
    assert len(alone.values) > 2 * len(alone.model.backbone.transformer_layers)
    model = load(folder_of(family), shape)
    first = train(model, BATCHES[:1])
    checkpoint.save_training(model, tmp_path / "checkpoint")
    rest = train(model, BATCHES[1:])
    np.testing.assert_allclose(first.losses + rest.losses, alone.losses, rtol=1e-5)
    for path, value in rest.values.items():
        # AdamW divides by the root of the second moment: where a gradient is close to 0, rounding
        # decides about the step of up to 1e-3.
        np.testing.assert_allclose(value, alone.values[path], atol=2e-4, err_msg=path)
    resumed = load(folder_of(family), shape)
    checkpoint.resume_training(resumed, tmp_path / "checkpoint")
    assert train(resumed, BATCHES[1:]).losses == rest.losses


@pytest.mark.parametrize(
    "family", [pytest.param(family, marks=() if family in GENERATED else pytest.mark.long) for family in SIZES]
)
def test_generation_is_the_most_probable_text(family: str, alone_of: Any) -> None:
    """The cache gives the logits of the model: also with windows, shared keys, and soft caps."""
    model = alone_of(family).model
    prompts = model.preprocessor.generate_preprocess(["The film", "I would watch it again, if"], sequence_length=LENGTH)
    sampler = model.sampler
    assert isinstance(sampler, keras_hub.samplers.GreedySampler)
    tokens = np.asarray(model.make_generate_function()(prompts, stop_token_ids=None)["token_ids"])
    inputs = {**prompts, "token_ids": tokens, "padding_mask": np.ones_like(prompts["padding_mask"])}
    model.preprocessor, preprocessor = None, model.preprocessor
    logits = np.asarray(model.predict_on_batch({name: inputs[name] for name in model.input}))
    model.preprocessor = preprocessor
    generated = ~np.asarray(prompts["padding_mask"])[:, 1:]
    assert generated.sum() > LENGTH
    np.testing.assert_array_equal(logits[:, :-1].argmax(axis=-1)[generated], tokens[:, 1:][generated])
    assert generation.complete(model, "The film", LENGTH).startswith("The film")
    assert -20 < generation.mean_log_likelihood(model, TEXTS[:3]) < -3
