"""Runs in bfloat16: which implementation adds the adapters, and that such a model trains."""

import functools
import types
from pathlib import Path
from typing import Any

import chex
import keras
import ml_dtypes
import numpy as np
import pytest
from exercise_folder import write_exercises

from kit.course.shared.small_models import set_distribution, small_model
from kit.errors import UserError
from kit.models.architectures import find_architecture
from kit.models.weightless import build_backbone, no_weights
from kit.parts.implementation import find_parts
from kit.reference import checkpoint, generation, lora, precision, training
from kit.run.small_updates import keep_small_updates

OWN = "CALLED = []\n\n\ndef add_adapters_in_float32(model):\n    CALLED.append(model)\n"


@pytest.mark.parametrize("dtype", ["bfloat16", "mixed_bfloat16"])
def test_keras_loses_a_small_update(dtype: str) -> None:
    """In bfloat16 W + A B is rounded, in mixed_bfloat16 each of the three; adapters are float32."""
    layer = keras.layers.EinsumDense("btd,dh->bth", (None, 64), dtype=dtype)
    layer.build((None, None, 128))
    layer.enable_lora(4)
    random = np.random.default_rng(0)
    inputs, kernel, lora_a, lora_b = (
        random.normal(size=shape).astype(ml_dtypes.bfloat16).astype("float64")
        for shape in ((8, 64, 128), (128, 64), (128, 4), (4, 64))
    )
    lora_b *= 1e-3 / 2
    for variable, value in zip(
        (layer._kernel, layer.lora_kernel_a, layer.lora_kernel_b), (kernel, lora_a, lora_b), strict=True
    ):
        variable.assign(value.astype("float32"))
    assert layer.lora_kernel_a.dtype == layer.lora_kernel_b.dtype == "float32"
    change = inputs @ (lora_a @ lora_b)
    # Not compiled: XLA may skip roundings in between, and on the CPU does so with mixed_bfloat16.
    as_keras = np.asarray(layer(keras.ops.convert_to_tensor(inputs, "bfloat16")))
    assert 0.4 < precision.effect_kept(change, inputs @ kernel, as_keras) < 0.8
    precision.add_adapters_in_float32(types.SimpleNamespace(backbone=keras.Sequential([layer])))
    ours = np.asarray(layer(keras.ops.convert_to_tensor(inputs, "bfloat16")))
    assert precision.effect_kept(change, inputs @ kernel, ours) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(
    ("dtype", "beta_2", "moves"), [("bfloat16", 0.999, False), ("bfloat16", 0.99, True), ("float32", 0.999, True)]
)
def test_adamw_moves_no_weight_in_bfloat16(dtype: str, beta_2: float, moves: bool) -> None:
    """AdamW computes its bias correction 1 - beta_2^step in the variable's dtype."""
    variable = keras.Variable(np.array([0.0078125, 1.0]), dtype=dtype)
    optimizer = keras.optimizers.AdamW(0.5, beta_2=beta_2, weight_decay=0.0)
    optimizer.build([variable])
    for _ in range(3):
        optimizer.apply([keras.ops.ones((2,), dtype)], [variable])
    assert (np.asarray(variable.value, "float32") != [0.0078125, 1.0]).tolist() == [moves, moves]


class TestImplementation:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return write_exercises(tmp_path / "mine")

    def test_the_user_module_that_implements_it(self, folder: Path) -> None:
        (folder / "precision.py").write_text(OWN)
        parts = find_parts(str(folder))
        assert keep_small_updates("a model", parts, "bfloat16", 4).endswith("mine/precision.py)")
        assert parts.module("precision").CALLED == ["a model"]

    @pytest.mark.parametrize("text", [None, "", "def share_unchanged(kernel, update):\n    return 0.0\n"])
    def test_the_reference_otherwise(self, folder: Path, text: str | None) -> None:
        if text is not None:
            (folder / "precision.py").write_text(text)
        with pytest.raises(ValueError, match="no layer with LoRA"):
            keep_small_updates(_without_lora(), find_parts(str(folder)), "bfloat16", 4)

    def test_a_file_that_is_not_python_is_one_sentence(self, folder: Path) -> None:
        (folder / "precision.py").write_text("def")
        with pytest.raises(UserError, match=r"precision\.py is not Python"):
            keep_small_updates(None, find_parts(str(folder)), "bfloat16", 4)

    def test_a_copy_without_solutions_gets_a_warning(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        assert "below 1/512 of an entry is lost" in keep_small_updates(None, find_parts(str(folder)), "bfloat16", 4)

    def test_in_float32_nothing_is_done(self) -> None:
        assert keep_small_updates(None, find_parts("reference"), "float32", 4) == ""

    def test_all_parameters_in_bfloat16_get_a_warning(self) -> None:
        parts = find_parts("reference")
        said = keep_small_updates(None, parts, "bfloat16", 0)
        assert "in bfloat16 AdamW moves no weight" in said
        assert keep_small_updates(None, parts, "mixed_bfloat16", 0) == ""


def _without_lora() -> Any:
    set_distribution(1, 8)
    return small_model(rank=0, dtype="bfloat16", num_layers=1)


@pytest.mark.parametrize("name", ["gemma_2b_en", "gemma2_2b_en", "gemma3_1b"])
def test_every_matrix_of_each_gemma_may_have_an_adapter(name: str) -> None:
    """At true size, without weights: outputs of the backbone keep their shape and dtype."""
    targets = {"query", "key", "value", "attention_output", "ffw_gating", "ffw_gating_2", "ffw_linear"}
    with no_weights():
        backbone = build_backbone(find_architecture(name), num_layers=1, dtype="bfloat16")
        backbone.enable_lora(4, target_layer_names=sorted(targets))
        as_keras = backbone(backbone.input)
        precision.add_adapters_in_float32(types.SimpleNamespace(backbone=backbone))
        layers = [layer for layer in backbone._flatten_layers() if isinstance(layer.call, functools.partial)]
        assert {layer.name for layer in layers} == targets
        ours = backbone(backbone.input)
    assert (ours.shape, ours.dtype) == (as_keras.shape, as_keras.dtype)
    assert ours.dtype == "bfloat16"


def test_other_layers_are_refused() -> None:
    dense = keras.layers.Dense(3, name="dense_with_lora")
    dense.build((None, 2))
    dense.enable_lora(1)
    backbone = keras.Sequential([keras.Input((2,)), dense])
    with pytest.raises(ValueError, match="dense_with_lora is not an EinsumDense without bias and activation"):
        precision.add_adapters_in_float32(types.SimpleNamespace(backbone=backbone))


def _with_lora() -> Any:
    set_distribution(1, 8)
    model = small_model(rank=0, dtype="bfloat16", num_layers=1)
    # Adapters have random initial values; a fresh model has the same base.
    keras.utils.set_random_seed(0)
    lora.enable_lora(model, 4)
    said = keep_small_updates(model, find_parts("reference"), "bfloat16", 4)
    assert said.endswith("then rounded (reference/precision.py)")
    training.compile_for_finetuning(model, 5e-3, 0.01)
    return model


@pytest.mark.train
def test_such_a_model_trains_saves_merges_and_generates(devices: list[str], reviews: list[str], tmp_path: Path) -> None:
    """On 8 devices. A fresh model that resumes trains exactly like the saved model."""
    model, fresh = _with_lora(), _with_lora()
    training.finetune(model, [reviews[:8]])
    checkpoint.save_training(model, tmp_path / "save")
    checkpoint.resume_training(fresh, tmp_path / "save")
    for other in (model, fresh):
        training.finetune(other, [reviews[8:]])
    assert len(model.trainable_variables) == 4
    one, two = ({variable.path: variable.value for variable in each.trainable_variables} for each in (model, fresh))
    chex.assert_type(list(one.values()), "float32")
    chex.assert_trees_all_equal(one, two, strict=True)
    text = generation.complete(model, "The film", 12)
    assert text == generation.complete(fresh, "The film", 12)
    before = np.asarray(model.predict_on_batch(reviews[:8]), "float32")
    checkpoint.merge_adapters(model)
    assert not model.trainable_variables
    after = np.asarray(model.predict_on_batch(reviews[:8]), "float32")
    # The merged kernel is rounded to 1/512 of an entry, and so is each later activation.
    assert np.abs(after - before).mean() < 0.01 * np.abs(before).mean()
