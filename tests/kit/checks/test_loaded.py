"""A check that a loaded model has the values in the file."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import transformers_models
from qwen_model import failure as wrapped_failure
from qwen_model import layout_map, make_backbone, set_distribution

from kit.checks import check_loaded
from kit.errors import UserError

#: Bytes that a shard may have, in GB: a third of the model.
SHARD = 5e-5


def failure(*arguments: Any, **keywords: Any) -> str:
    """The diagnostic in one line."""
    return " ".join(wrapped_failure(*arguments, **keywords).split())


@pytest.fixture(scope="module")
def presets(tmp_path_factory: pytest.TempPathFactory, devices: list[str]) -> dict[str, Path]:
    """The same backbone as one file and as several."""
    folder = tmp_path_factory.mktemp("presets")
    backbone = make_backbone()
    backbone.save_to_preset(folder / "single")
    backbone.save_to_preset(folder / "sharded", max_shard_size=SHARD)
    assert len(list((folder / "sharded").glob("*.h5"))) > 2
    return {name: folder / name for name in ("single", "sharded")}


def load(preset: Path, mesh: Any = None) -> Any:
    import keras_hub

    if mesh is not None:
        set_distribution(layout_map(mesh))
    return keras_hub.models.Qwen3Backbone.from_preset(str(preset))


class TestRight:
    @pytest.mark.parametrize("name", ["single", "sharded"])
    def test_presets_of_kerashub(self, name: str, presets: dict[str, Path], mesh_2x4: Any) -> None:
        assert check_loaded(load(presets[name], mesh_2x4), presets[name]) == 24

    def test_a_task_with_adapters(self, presets: dict[str, Path], mesh_2x4: Any) -> None:
        import keras_hub

        model = keras_hub.models.Qwen3CausalLM(backbone=load(presets["sharded"], mesh_2x4))
        model.backbone.enable_lora(2)
        assert check_loaded(model, presets["sharded"]) == 24

    def test_a_preset_of_transformers(self, tmp_path: Path, mesh_2x4: Any) -> None:
        import keras_hub

        folder = tmp_path / "model"
        transformers_models.write_model(folder, "gemma", shards=3)
        assert len(list(folder.glob("*.safetensors"))) == 3
        set_distribution(layout_map(mesh_2x4, {".*ffw_gating/kernel": (None, "model")}))
        model = keras_hub.models.GemmaBackbone.from_preset(str(folder))
        assert check_loaded(model, folder) == len(model.weights)
        model.layers[-1].scale.assign(np.asarray(model.layers[-1].scale.value) + 1)
        assert "model.norm.weight" in failure("WEIGHTS_DIFFER_FROM_FILE", check_loaded, model, folder)

    @pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
    def test_a_file_of_weights(self, dtype: str, tmp_path: Path, mesh_2x4: Any) -> None:
        """A compiled model with statistics, random generators and a tied matrix."""
        import keras
        import keras_hub

        set_distribution(layout_map(mesh_2x4, {".*(dense/kernel|embeddings)": (None, "model")}))
        layers, kept = keras.layers, {"dtype": "float32" if dtype == "int8" else dtype}
        tokens, dense = keras.Input((3,)), layers.Dense(16, name="dense", **kept)
        tied = keras_hub.layers.ReversibleEmbedding(32, 16, **kept)
        hidden = layers.Dropout(0.1)(layers.BatchNormalization(**kept)(tied(tokens)))
        model = keras.Model(tokens, tied(dense(hidden), reverse=True))
        if dtype == "int8":
            dense.quantize("int8")
        else:
            model.compile("adam", "mse")
            model.optimizer.build(model.trainable_variables)
        model.save_weights(tmp_path / "model.weights.h5")
        assert check_loaded(model, tmp_path / "model.weights.h5") == len(model.weights)


class TestWrong:
    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda value: value * 0, "all their values are 0"),
            (lambda value: jax.numpy.asarray(value, "bfloat16"), "rounded to a dtype"),
            (lambda value: value.swapaxes(1, 2).reshape(value.shape), "two dimensions swapped"),
            (lambda value: value + 1e-3, "are none of these"),
        ],
    )
    def test_other_values(
        self, change: Callable[[Any], Any], words: str, presets: dict[str, Path], mesh_2x4: Any
    ) -> None:
        model = load(presets["single"], mesh_2x4)
        kernel = model.transformer_layers[0]._self_attention_layer._query_dense._kernel
        kernel.assign(change(np.asarray(kernel.value)))
        text = failure("WEIGHTS_DIFFER_FROM_FILE", check_loaded, model, presets["single"])
        assert "1 of 24 weights differ" in text
        assert words in text

    def test_layers_in_another_order(self, presets: dict[str, Path], mesh_2x4: Any) -> None:
        model = load(presets["sharded"], mesh_2x4)
        first, second = (layer._feedforward_gate_dense.kernel for layer in model.transformer_layers)
        values = np.asarray(first.value)
        first.assign(np.asarray(second.value))
        second.assign(values)
        text = failure("WEIGHTS_DIFFER_FROM_FILE", check_loaded, model, presets["sharded"])
        assert "2 of 24 weights differ from the file: each has the values of another entry" in text

    def test_one_shard(self, presets: dict[str, Path], mesh_2x4: Any) -> None:
        model = load(presets["single"], mesh_2x4)
        kernel = model.transformer_layers[0]._feedforward_gate_dense.kernel
        value = kernel.value
        shards = [shard.data for shard in value.addressable_shards]
        # The first two devices have each other's shards.
        shards[0], shards[1] = (
            jax.device_put(shards[1], shards[0].device),
            jax.device_put(shards[0], shards[1].device),
        )
        kernel._value = jax.make_array_from_single_device_arrays(value.shape, value.sharding, shards)
        text = failure("WEIGHTS_DIFFER_FROM_FILE", check_loaded, model, presets["single"])
        assert "some of their shards have other values" in text
        assert "cpu:0, cpu:1" in text

    def test_a_merged_adapter(self, presets: dict[str, Path], mesh_2x4: Any) -> None:
        model = load(presets["single"], mesh_2x4)
        random = np.random.default_rng(0)
        kernel = model.transformer_layers[0]._feedforward_gate_dense.kernel
        delta = random.normal(size=(40, 2)) @ random.normal(size=(2, 80))
        kernel.assign(np.asarray(kernel.value) + delta.astype("float32"))
        assert "as a merged adapter does" in failure("WEIGHTS_DIFFER_FROM_FILE", check_loaded, model, presets["single"])

    def test_another_architecture(self, presets: dict[str, Path], mesh_2x4: Any) -> None:
        set_distribution(layout_map(mesh_2x4))
        text = failure("WEIGHTS_NOT_IN_FILE", check_loaded, make_backbone(num_layers=3), presets["single"])
        assert "11 of the model's 35 weights are not in the file" in text
        text = failure("WEIGHTS_LEFT_OVER", check_loaded, make_backbone(num_layers=1), presets["sharded"])
        assert "11 of the file's 24 entries" in text

    def test_another_file(self, presets: dict[str, Path], tmp_path: Path, mesh_2x4: Any) -> None:
        model = load(presets["sharded"], mesh_2x4)
        make_backbone().save_to_preset(tmp_path / "other")
        text = failure("WEIGHTS_DIFFER_FROM_FILE", check_loaded, model, tmp_path / "other")
        assert "15 of 24 weights differ from the file: they were compared with each entry" in text

    def test_a_copy_on_one_device(self, presets: dict[str, Path], mesh_2x4: Any) -> None:
        model = load(presets["single"], mesh_2x4)
        kept = jax.numpy.asarray(np.asarray(model.token_embedding.embeddings.value))
        text = failure("WEIGHTS_HELD_TWICE", check_loaded, model, presets["single"])
        assert "1 sharded weight is on one device a second time" in text
        assert "token_embedding/embeddings" in text
        del kept
        check_loaded(model, presets["single"])

    def test_an_unsharded_twin_is_not_a_copy(self, presets: dict[str, Path], mesh_2x4: Any) -> None:
        import keras

        twin = load(presets["single"])
        # Saving makes further arrays of the same buffers.
        values = [np.asarray(weight.value.addressable_shards[0].data) for weight in twin.weights]
        check_loaded(load(presets["single"], mesh_2x4), presets["single"])
        assert len(values) == len(twin.weights)
        keras.distribution.set_distribution(None)

    def test_a_reader_that_forgets_which_file_is_open(
        self, tmp_path: Path, mesh_2x4: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As Keras' before its change 22739; an older file has left entries of the same names."""
        import h5py
        import keras
        from keras.src.saving.saving_lib import H5IOStore, ShardedH5IOStore

        def make() -> Any:
            return keras.Sequential([keras.Input((8,)), *(keras.layers.Dense(8, name=f"d{one}") for one in range(4))])

        make().save_weights(tmp_path / "one.weights.h5")
        index = {}
        with h5py.File(tmp_path / "one.weights.h5") as source:
            groups = [group for group in source["layers"] if len(source["layers"][group]["vars"])]
            for shard in range(2):
                with h5py.File(tmp_path / f"m_0000{shard}.weights.h5", "w") as file:
                    for number, group in enumerate(groups):
                        values = source[f"layers/{group}/vars"]
                        for key, value in values.items():
                            file[f"{values.name}/{key}"] = value[()] if number % 2 == shard else value[()] + 7
                        index[values.name] = f"m_0000{number % 2}.weights.h5"
        file = tmp_path / "m.weights.json"
        file.write_text(json.dumps({"metadata": {}, "weight_map": index}))

        def get(store: Any, path: str) -> Any:
            name = index.get(f"/{path}/vars")
            store.current_shard_filenames = [name] if name else []
            if name and name != store.current_shard_path.name:
                store.close()
                store.h5_file = store._get_h5_file(store.path.with_name(name))
            return H5IOStore.get(store, path)

        set_distribution(layout_map(mesh_2x4, {".*kernel": (None, "model")}))
        model = make()
        model.load_weights(file)
        assert check_loaded(model, file) == 8
        monkeypatch.setattr(ShardedH5IOStore, "get", get)
        # It raises no error.
        model.load_weights(file)
        assert "of 8 weights differ from the file" in failure("WEIGHTS_DIFFER_FROM_FILE", check_loaded, model, file)

    def test_no_distribution(self, presets: dict[str, Path]) -> None:
        failure("LOADING_NO_DISTRIBUTION", check_loaded, load(presets["single"]), presets["single"])


def test_files_that_cannot_be_read(presets: dict[str, Path], tmp_path: Path, mesh_2x4: Any) -> None:
    model = load(presets["sharded"], mesh_2x4)
    folder = shutil.copytree(presets["sharded"], tmp_path / "missing")
    index = json.loads((folder / "model.weights.json").read_text())
    shard = next(iter(index["weight_map"].values()))
    (folder / (shard if isinstance(shard, str) else shard[0])).unlink()
    with pytest.raises(UserError, match="cannot be read"):
        check_loaded(model, folder)
    with pytest.raises(UserError, match="neither"):
        check_loaded(model, tmp_path)
    with pytest.raises(UserError, match="no preset that KerasHub knows"):
        check_loaded(model, "no_such_preset_en")
    (tmp_path / "damaged.weights.h5").write_bytes(b"damaged")
    with pytest.raises(UserError, match="cannot be read as HDF5"):
        check_loaded(model, tmp_path / "damaged.weights.h5")
    with pytest.raises(UserError, match="no such file"):
        check_loaded(model, tmp_path / "none.weights.h5")
