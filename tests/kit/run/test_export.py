"""What a run has tuned, as a preset that anything loads: merged exactly, or not written."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import chex
import h5py
import jax
import keras
import keras_hub
import numpy as np
import pytest
from made_run import made_run, read, write

from kit.course.shared.tensor_parallel import device_mesh
from kit.errors import UserError
from kit.evidence.merging import kernel_updates, update_kept
from kit.models.preprocessor import preprocess_one_at_a_time
from kit.models.presets import BUNDLED_FOLDER, find_preset
from kit.models.settings import FinetuningSettings
from kit.models.sharded_loading import load_slice_by_slice
from kit.narrator import Narrator
from kit.parts.implementation import find_parts
from kit.run.export import ExportOptions, _merge, export
from kit.run.folder import FinishedRun, finished_run
from kit.run.pipeline import mark_of_weights
from kit.runtime.platform import Runtime

PROMPT = "Best films "
TEXTS = ["It was a dull film, and I saw it twice.", "I liked the music of it, and the ending."] * 4


class Listener(Narrator):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def text(self, text: str) -> None:
        self.said.append(text)


def logits(model: Any) -> np.ndarray:
    model.preprocessor.sequence_length = 24
    return np.asarray(model.predict_on_batch(TEXTS))


def tuned_model(rank: int) -> Any:
    """The bundled model, tuned for two steps; and the mark of its weights before."""
    parts = find_parts("reference")
    keras.config.disable_interactive_logging()
    keras.utils.set_random_seed(0)
    layout_map = parts.layout.gemma_layout_map(device_mesh(1, 8))
    model = parts.loading.load_distributed(str(BUNDLED_FOLDER), layout_map)
    mark = mark_of_weights(model)
    if rank:
        parts.lora.enable_lora(model, rank)
    parts.training.compile_for_finetuning(model, 5e-3, 0.01)
    model.preprocessor.sequence_length = 24
    preprocess_one_at_a_time(model)
    parts.training.finetune(model, [TEXTS] * 2)
    return model, mark


def run_of(folder: Path, model: Any, mark: str, rank: int) -> FinishedRun:
    """A finished run that tuned it."""
    completion = find_parts("reference").generation.complete(model, PROMPT, 24)
    made_run(folder)
    result = read(folder / "run.json")
    result["settings"] |= {"rank": rank, "max_length": 24, "prompt": PROMPT}
    result["generations"]["after"] = completion
    result |= {
        "filled": False,
        "working_folder": str(folder.parent),
        "marks": {"weights": mark, "batches": ""},
        "mesh": {"batch": 1, "model": 8},
    }
    write(folder / "run.json", result)
    find_parts("reference").checkpoint.save_training(model, folder / "adapters")
    return finished_run(str(folder))


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run with adapters, and the logits of its model."""
    folder = tmp_path_factory.mktemp("tuned") / "a-run"
    model, mark = tuned_model(4)
    found = run_of(folder, model, mark, 4), logits(model)
    keras.distribution.set_distribution(None)
    return found


def exported(
    run: FinishedRun, target: Path, impl: str = "reference", dtype: str = "float32", mesh: tuple[int, int] = (1, 8)
) -> list[str]:
    listener = Listener()
    settings = FinetuningSettings(**run.settings)
    options = ExportOptions(run, target, target.name, find_preset("bundled"), settings, dtype, mesh)
    export(options, Runtime("cpu", 8, "cpu"), find_parts(impl), listener)
    return listener.said


def loaded(preset: Path) -> Any:
    """On one device, in float32."""
    keras.distribution.set_distribution(None)
    with load_slice_by_slice():
        return keras_hub.models.CausalLM.from_preset(str(preset), dtype="float32")


@pytest.fixture(scope="module")
def preset(tuned: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """What is written, and what is said."""
    target = tmp_path_factory.mktemp("exported") / "preset"
    return target, exported(tuned[0], target)


def weights(preset: Path) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    with h5py.File(preset / "model.weights.h5") as file:
        file.visititems(
            lambda path, item: found.update({path: item[()]}) if isinstance(item, h5py.Dataset) and item.size else None
        )
    assert len(found) == 38
    return found


def test_it_computes_what_the_tuned_model_did(tuned: Any, preset: tuple[Path, list[str]]) -> None:
    folder, said = preset
    assert any(line.startswith("1.0000 of the adapters' updates is in the kernels of 8 layers; ") for line in said)
    assert "which is what the run wrote when it had been tuned" in said
    keras.distribution.set_distribution(None)
    model = keras_hub.models.CausalLM.from_preset(str(folder))
    # On one device, so sums come in another order.
    np.testing.assert_allclose(logits(model), tuned[1], rtol=1e-4, atol=1e-4)
    untuned = loaded(BUNDLED_FOLDER)
    assert len(model.variables) == len(untuned.variables)
    assert np.abs(logits(untuned) - tuned[1]).max() > 1e-2
    # The bundled model's settings go on with it, and so does its length of sequences.
    assert find_preset(str(folder)).settings == find_preset("bundled").settings
    assert read(folder / "preprocessor.json") == read(BUNDLED_FOLDER / "preprocessor.json")


def test_the_mesh_does_not_matter(tuned: Any, preset: tuple[Path, list[str]], tmp_path: Path) -> None:
    exported(tuned[0], tmp_path / "preset", mesh=(2, 4))
    chex.assert_trees_all_equal(weights(tmp_path / "preset"), weights(preset[0]))


def test_all_parameters(tmp_path: Path) -> None:
    model, mark = tuned_model(0)
    run, expected = run_of(tmp_path / "a-run", model, mark, 0), logits(model)
    exported(run, tmp_path / "preset")
    np.testing.assert_allclose(logits(loaded(tmp_path / "preset")), expected, rtol=1e-4, atol=1e-4)


def test_an_accelerators_rounding_is_not_merged(tmp_path: Path) -> None:
    """A GPU multiplies in TF32 unless it is told not to. The processor refuses that, so what is left to it fails."""
    model, mark = tuned_model(4)
    run, listener = run_of(tmp_path / "a-run", model, mark, 4), Listener()
    settings = FinetuningSettings(**run.settings)
    options = ExportOptions(run, tmp_path, "preset", find_preset("bundled"), settings, "float32", (1, 8))
    with jax.default_matmul_precision("TF32_TF32_F32"):
        with pytest.raises(ValueError, match="TF32_TF32_F32"):
            logits(model)
        with pytest.raises(ValueError, match="TF32_TF32_F32"):
            keras.ops.matmul(np.ones((2, 2)), np.ones((2, 2)))
        _merge(find_parts("reference"), model, options, listener)
    assert listener.said[-1].startswith("1.0000 of the adapters' updates is in the kernels of 8 layers; ")


def test_half_the_bytes(tuned: Any, preset: tuple[Path, list[str]], tmp_path: Path) -> None:
    said = exported(tuned[0], tmp_path / "preset", dtype="bfloat16")
    assert any("of the adapters' updates is in the kernels of 8 layers" in line for line in said)
    sizes = [(folder / "model.weights.h5").stat().st_size for folder in (tmp_path / "preset", preset[0])]
    assert sizes[0] < 0.6 * sizes[1]
    found, expected = logits(loaded(tmp_path / "preset")), tuned[1]
    # Weights are rounded by up to 1/512 of themselves.
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
            "merge_adapters of .*mine changes what the model computes: logits are [0-9.e-]+ apart",
        ),
        (
            "checkpoint",
            "def resume_training(model, path):\n    model.optimizer.build(model.trainable_variables)\n",
            "its adapters add nothing to the weights",
        ),
        ("loading", "def load_distributed(preset, layout_map, **options):\n    raise OSError('gone')\n", "gone"),
    ],
    ids=["merged twice", "nothing was resumed", "not loaded"],
)
def test_what_is_wrong_is_not_written(tuned: Any, module: str, content: str, message: str, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    shutil.copytree(find_parts("reference").folder, mine)
    (mine / f"{module}.py").write_text(f"from kit.reference.{module} import *\n\n\n{content}")
    with pytest.raises(UserError, match=message):
        exported(tuned[0], tmp_path / "preset", impl=str(mine))
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_other_weights_than_were_tuned(tuned: Any, tmp_path: Path) -> None:
    shutil.copytree(Path(tuned[0].shown), tmp_path / "a-run")
    result = read(tmp_path / "a-run" / "run.json")
    result["marks"]["weights"] = "0" * 64
    write(tmp_path / "a-run" / "run.json", result)
    with pytest.raises(UserError, match="the weights of bundled are others now than those that it tuned"):
        exported(finished_run(str(tmp_path / "a-run")), tmp_path / "preset")


def test_a_run_that_cannot_be_exported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere: there is no such folder"):
        finished_run("nowhere")
    folder = tmp_path / "a-run"
    folder.mkdir()
    with pytest.raises(UserError, match="this is not the folder of a run"):
        finished_run(str(folder))
    (folder / "request.json").write_text("{}")
    with pytest.raises(UserError, match=r"this run is not finished; `kit run --resume .*a-run` goes on with it"):
        finished_run(str(folder))
    for content in ("{", "[]", "{}", '{"preset": "bundled", "mesh": [1, 8]}'):
        (folder / "run.json").write_text(content)
        with pytest.raises(UserError, match=r"its run\.json is damaged, or of an older kit"):
            finished_run(str(folder))


def test_adapters_that_are_gone_or_damaged(tuned: Any, tmp_path: Path) -> None:
    folder = tmp_path / "a-run"
    shutil.copytree(Path(tuned[0].shown), folder)
    (folder / "adapters" / "training_state.h5").write_bytes(b"half")
    with pytest.raises(UserError, match="its adapters cannot be read"):
        exported(finished_run(str(folder)), tmp_path / "preset")
    shutil.rmtree(folder / "adapters")
    with pytest.raises(UserError, match="its adapters are not there any more"):
        finished_run(str(folder))
    assert not (tmp_path / "preset").exists()


class TestUpdateKept:
    def layer(self, dtype: str, size: float) -> Any:
        layer = keras.layers.EinsumDense("btd,dh->bth", (None, 64), dtype=dtype)
        layer.build((None, None, 128))
        layer.enable_lora(4)
        random = np.random.default_rng(0)
        for variable, scale in ((layer._kernel, 1.0), (layer.lora_kernel_a, 1.0), (layer.lora_kernel_b, size)):
            variable.assign(random.normal(0, scale, tuple(variable.shape)).astype("float32"))
        return keras.Sequential([layer])

    @pytest.mark.parametrize(
        ("dtype", "size", "least", "most"),
        [("float32", 1e-3, 0.999, 1.001), ("bfloat16", 1.0, 0.99, 1.01), ("bfloat16", 2e-4, 0.1, 0.9)],
    )
    def test_of_what_was_merged(self, dtype: str, size: float, least: float, most: float) -> None:
        model = self.layer(dtype, size)
        (update,) = updates = kernel_updates(model)
        assert update_kept(updates) == 0
        update.layer._kernel.assign(update.before + update.update)
        assert least < update_kept(updates) < most

    def test_of_nothing(self) -> None:
        with pytest.raises(ValueError, match="of 1 adapters are zero"):
            update_kept(kernel_updates(self.layer("float32", 0.0)))
        with pytest.raises(ValueError, match="of 0 adapters are zero"):
            update_kept([])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "Missing argument 'RUN'"),
        (["a-run"], "Missing argument 'FOLDER'"),
        (["nowhere", "preset"], "nowhere: there is no such folder"),
        (["a-run", "taken"], "taken: it is there already; give a folder that is to be made"),
        (["a-run", "a-file/preset"], "a-file/preset: no folder can be made in "),
        (["a-run", "preset", "--dtype", "float8"], "--dtype float8: choose one of float32, bfloat16"),
        (["a-run", "preset", "--mesh", "8"], "--mesh 8: it is written BATCHxMODEL"),
        (["a-run", "preset", "--mesh", "2x4", "--devices", "4"], "--mesh 2x4: that takes 8 devices, and 4 are here"),
        (["a-run", "preset", "--platform", "abacus"], "--platform abacus: there is auto, cpu, gpu and tpu"),
        (["moved", "preset"], "it was made in /nowhere/at/all, which is not there any more"),
    ],
)
def test_a_mistake_is_one_sentence(tuned: Any, arguments: list[str], sentence: str, tmp_path: Path) -> None:
    shutil.copytree(Path(tuned[0].shown), tmp_path / "a-run")
    shutil.copytree(Path(tuned[0].shown), tmp_path / "moved")
    moved = json.loads((tmp_path / "moved" / "run.json").read_text())
    (tmp_path / "moved" / "run.json").write_text(json.dumps(moved | {"working_folder": "/nowhere/at/all"}))
    (tmp_path / "taken").mkdir()
    (tmp_path / "a-file").write_text("")
    before = sorted(tmp_path.rglob("*"))
    command = [sys.executable, "-c", "from kit.cli.main import main; main()", "export", *arguments]
    finished = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert finished.returncode == 2, finished.stderr
    (line,) = finished.stderr.strip().splitlines()
    assert line.startswith("kit: ")
    assert sentence in line
    assert sorted(tmp_path.rglob("*")) == before
