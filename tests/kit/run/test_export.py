"""Export of what a run trained: a preset whose merged weights are exact, or no preset."""

import shutil
from pathlib import Path
from typing import Any

import chex
import h5py
import jax
import keras
import keras_hub
import numpy as np
import pytest
from command_line import expect_one_sentence, kit
from finished_run import loaded_model, write_finished_run
from made_run import Listener, edited, made_run, read

from kit.errors import UserError
from kit.models.preprocessor import preprocess_one_at_a_time
from kit.models.presets import BUNDLED_FOLDER, find_preset
from kit.models.sharded_loading import load_slice_by_slice
from kit.parts.implementation import find_parts
from kit.run.export import ExportOptions, export, merge_and_compare
from kit.run.finished import FinishedRun, open_exportable_run
from kit.runtime.platform import Runtime

TEXTS = ["It was a dull film, and I saw it twice.", "I liked the music of it, and the ending."] * 4


def logits(model: Any) -> np.ndarray:
    model.preprocessor.sequence_length = 24
    return np.asarray(model.predict_on_batch(TEXTS))


def trained_model(rank: int) -> Any:
    """The bundled model, trained for two steps; and the checksum of its weights before."""
    model, checksum = loaded_model("bundled", rank=rank)
    preprocess_one_at_a_time(model)
    find_parts("reference").training.finetune(model, [TEXTS] * 2)
    return model, checksum


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run with adapters, and the logits of its model."""
    folder = tmp_path_factory.mktemp("trained") / "a-run"
    model, checksum = trained_model(4)
    found = write_finished_run(folder, "bundled", model, checksum), logits(model)
    keras.distribution.set_distribution(None)
    return found


def exported(
    run: FinishedRun, target: Path, impl: str = "reference", dtype: str = "float32", mesh: tuple[int, int] = (1, 8)
) -> list[str]:
    listener = Listener()
    options = ExportOptions(run, target, target.name, find_preset("bundled"), dtype, mesh)
    export(options, Runtime("cpu", 8, "cpu"), find_parts(impl), listener)
    return listener.lines


def loaded(preset: Path) -> Any:
    """The model on one device, in float32."""
    keras.distribution.set_distribution(None)
    with load_slice_by_slice():
        return keras_hub.models.CausalLM.from_preset(str(preset), dtype="float32")


@pytest.fixture(scope="module")
def preset(trained: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The preset, and the sentences of the export."""
    target = tmp_path_factory.mktemp("exported") / "preset"
    return target, exported(trained[0], target)


def weights(preset: Path) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    with h5py.File(preset / "model.weights.h5") as file:
        file.visititems(
            lambda path, item: found.update({path: item[()]}) if isinstance(item, h5py.Dataset) and item.size else None
        )
    assert len(found) == 38
    return found


def test_it_computes_what_the_trained_model_did(trained: Any, preset: tuple[Path, list[str]]) -> None:
    folder, lines = preset
    assert any(line.startswith("the kernels of 8 layers contain 1.0000 of the adapters' updates; ") for line in lines)
    assert "the same text as at the end of the run" in lines
    keras.distribution.set_distribution(None)
    model = keras_hub.models.CausalLM.from_preset(str(folder))
    # On one device sums have another order.
    np.testing.assert_allclose(logits(model), trained[1], rtol=1e-4, atol=1e-4)
    untrained = loaded(BUNDLED_FOLDER)
    assert len(model.variables) == len(untrained.variables)
    assert np.abs(logits(untrained) - trained[1]).max() > 1e-2
    # The bundled model's settings stay with it, and so does its sequence length.
    assert find_preset(str(folder)).settings == find_preset("bundled").settings
    assert read(folder / "preprocessor.json") == read(BUNDLED_FOLDER / "preprocessor.json")


def test_the_mesh_does_not_matter(trained: Any, preset: tuple[Path, list[str]], tmp_path: Path) -> None:
    exported(trained[0], tmp_path / "preset", mesh=(2, 4))
    chex.assert_trees_all_equal(weights(tmp_path / "preset"), weights(preset[0]))


def test_all_parameters(tmp_path: Path) -> None:
    model, checksum = trained_model(0)
    run, expected = write_finished_run(tmp_path / "a-run", "bundled", model, checksum, rank=0), logits(model)
    exported(run, tmp_path / "preset")
    np.testing.assert_allclose(logits(loaded(tmp_path / "preset")), expected, rtol=1e-4, atol=1e-4)


def test_rounding_of_an_accelerator_is_not_merged(tmp_path: Path) -> None:
    """A GPU multiplies in TF32 by default. The CPU refuses TF32, so such a product fails."""
    model, checksum = trained_model(4)
    run, listener = write_finished_run(tmp_path / "a-run", "bundled", model, checksum), Listener()
    options = ExportOptions(run, tmp_path, "preset", find_preset("bundled"), "float32", (1, 8))
    with jax.default_matmul_precision("TF32_TF32_F32"):
        with pytest.raises(ValueError, match="TF32_TF32_F32"):
            logits(model)
        with pytest.raises(ValueError, match="TF32_TF32_F32"):
            keras.ops.matmul(np.ones((2, 2)), np.ones((2, 2)))
        merge_and_compare(model, options, find_parts("reference"), listener)
    assert listener.lines[-1].startswith("the kernels of 8 layers contain 1.0000 of the adapters' updates; ")


def test_half_the_bytes(trained: Any, preset: tuple[Path, list[str]], tmp_path: Path) -> None:
    lines = exported(trained[0], tmp_path / "preset", dtype="bfloat16")
    assert any("the kernels of 8 layers contain" in line for line in lines)
    sizes = [(folder / "model.weights.h5").stat().st_size for folder in (tmp_path / "preset", preset[0])]
    assert sizes[0] < 0.6 * sizes[1]
    found, expected = logits(loaded(tmp_path / "preset")), trained[1]
    # Each weight is rounded by up to 1/512 of itself.
    assert 1e-4 < np.abs(found - expected).max() / np.abs(expected).max() < 0.03


@pytest.mark.parametrize(
    ("module", "content", "message"),
    [
        (
            "checkpoint",
            "def merge_adapters(model):\n"
            "    for layer in model.backbone._flatten_layers(include_self=False):\n"
            "        if getattr(layer, 'lora_enabled', False):\n"
            "            layer._kernel.assign(layer.kernel)\n",
            "merge_adapters of .*mine changes what the model computes: logits differ by up to [0-9.e-]+ of the largest",
        ),
        (
            "checkpoint",
            "def resume_training(model, path):\n    model.optimizer.build(model.trainable_variables)\n",
            "its adapters are zero, so the run trained nothing",
        ),
        (
            "lora",
            "def enable_lora(model, rank):\n"
            "    model.backbone.enable_lora(rank, target_layer_names=['query', 'vaule'])\n",
            "LoRA: no layer of this GemmaBackbone that takes adapters is called vaule; it has .*value",
        ),
        ("loading", "def load_distributed(preset, layout_map, **options):\n    raise OSError('gone')\n", "gone"),
    ],
    ids=["merged twice", "nothing resumed", "a misspelt target of LoRA", "not loaded"],
)
def test_a_wrong_model_is_not_written(trained: Any, module: str, content: str, message: str, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    shutil.copytree(find_parts("reference").folder, mine)
    (mine / f"{module}.py").write_text(f"from kit.reference.{module} import *\n\n\n{content}")
    with pytest.raises(UserError, match=message):
        exported(trained[0], tmp_path / "preset", impl=str(mine))
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_weights_that_have_changed(trained: Any, tmp_path: Path) -> None:
    shutil.copytree(Path(trained[0].shown), tmp_path / "a-run")
    with edited(tmp_path / "a-run" / "run.json") as result:
        result["marks"]["weights"] = "0" * 64
    with pytest.raises(UserError, match="the weights of bundled have changed since the run trained them"):
        exported(open_exportable_run(str(tmp_path / "a-run")), tmp_path / "preset")


def test_a_run_that_cannot_be_exported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere: there is no such folder"):
        open_exportable_run("nowhere")
    folder = tmp_path / "a-run"
    folder.mkdir()
    with pytest.raises(UserError, match="this is not the folder of a run; it has neither"):
        open_exportable_run(str(folder))
    (folder / "request.json").write_text("{}")
    with pytest.raises(
        UserError, match=r"this run is not finished .*; wait for it, or resume it with `kit run --resume .*a-run`"
    ):
        open_exportable_run(str(folder))
    for content in ("{", "[]", "{}", '{"preset": "bundled", "mesh": [1, 8]}'):
        (folder / "run.json").write_text(content)
        with pytest.raises(UserError, match=r"run\.json: it is damaged \("):
            open_exportable_run(str(folder))


def test_a_run_of_an_older_kit(tmp_path: Path) -> None:
    folder = made_run(tmp_path / "a-run")
    with pytest.raises(UserError, match=r"its run\.json is from an older version of the kit"):
        open_exportable_run(str(folder))


def test_adapters_that_are_gone_or_damaged(trained: Any, tmp_path: Path) -> None:
    folder = tmp_path / "a-run"
    shutil.copytree(Path(trained[0].shown), folder)
    (folder / "adapters" / "training_state.h5").write_bytes(b"half")
    with pytest.raises(UserError, match="cannot read its adapters"):
        exported(open_exportable_run(str(folder)), tmp_path / "preset")
    shutil.rmtree(folder / "adapters")
    with pytest.raises(UserError, match="its folder adapters is missing"):
        open_exportable_run(str(folder))
    assert not (tmp_path / "preset").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "Missing argument 'RUN'"),
        (["a-run"], "Missing argument 'FOLDER'"),
        (["nowhere", "preset"], "nowhere: there is no such folder"),
        (["a-run", "taken"], "taken: it exists already; give a new folder"),
        (["a-run", "a-file/preset"], "a-file/preset: cannot create a folder in "),
        (["a-run", "preset", "--dtype", "float8"], "--dtype float8: choose one of float32, bfloat16"),
        (["a-run", "preset", "--mesh", "8"], "--mesh 8: write BATCHxMODEL"),
        (["a-run", "preset", "--mesh", "2x4", "--devices", "4"], "--mesh 2x4: it needs 8 devices, and there are 4"),
        (["a-run", "preset", "--platform", "abacus"], "--platform abacus: choose one of auto, cpu, gpu, tpu"),
        (["moved", "preset"], "the run was started in /nowhere/at/all, which does not exist any more"),
    ],
)
def test_a_mistake_is_one_sentence(trained: Any, arguments: list[str], sentence: str, tmp_path: Path) -> None:
    shutil.copytree(Path(trained[0].shown), tmp_path / "a-run")
    shutil.copytree(Path(trained[0].shown), tmp_path / "moved")
    with edited(tmp_path / "moved" / "run.json") as moved:
        moved["working_folder"] = "/nowhere/at/all"
    (tmp_path / "taken").mkdir()
    (tmp_path / "a-file").write_text("")
    before = sorted(tmp_path.rglob("*"))
    finished = kit("export", *arguments, cwd=tmp_path)
    assert finished.returncode == 2, finished.stderr
    expect_one_sentence(finished.stderr, sentence)
    assert sorted(tmp_path.rglob("*")) == before
