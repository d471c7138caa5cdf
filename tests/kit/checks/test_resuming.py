"""A check that a run that is saved and resumed is the uninterrupted one."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qwen_model import failure as wrapped_failure
from qwen_model import layout_map

from kit.checks import check_resumes

#: All of these compile and run steps.
pytestmark = pytest.mark.train

RULES = {".*up/kernel": (None, "model"), ".*down/kernel": ("model", None)}


def failure(*arguments: Any, **keywords: Any) -> str:
    """The diagnostic in one line."""
    return " ".join(wrapped_failure(*arguments, **keywords).split())


def batch(examples: int = 8) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.normal(size=(examples, 12)).astype("float32"), random.normal(size=(examples, 4)).astype("float32")


def make_model(dtype: str = "float32", lora: bool = False, optimizer: str = "adam") -> Any:
    """Statistics, dropout and an optimizer with or without moments."""
    import keras

    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((12,)),
            layers.Dense(8, "tanh", name="up", dtype=dtype),
            layers.BatchNormalization(dtype=dtype),
            layers.Dropout(0.2, dtype=dtype),
            layers.Dense(4, name="down", dtype=dtype),
        ]
    )
    if lora:
        model.get_layer("up").enable_lora(2)
        model.get_layer("down").enable_lora(2)
    model.compile({"adam": keras.optimizers.Adam, "sgd": keras.optimizers.SGD}[optimizer](0.01), "mse")
    return model


def saver(select: Callable[[Any], list[Any]], change: Callable[[Any], Any] = lambda value: value) -> tuple[Any, Any]:
    """Functions that save and restore selected variables by their order."""

    def save(model: Any, path: Path) -> None:
        path.write_bytes(pickle.dumps([change(np.asarray(variable.value)) for variable in select(model)]))

    def resume(model: Any, path: Path) -> None:
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        for variable, value in zip(select(model), pickle.loads(path.read_bytes()), strict=True):
            variable.assign(value)

    return save, resume


def save_weights(model: Any, path: Path) -> None:
    model.save_weights(path)


def load_weights(model: Any, path: Path) -> None:
    model.optimizer.build(model.trainable_variables)
    model.load_weights(path)


def everything(model: Any) -> list[Any]:
    return [*model.variables, *model.optimizer.variables]


def check(functions: tuple[Any, Any], make: Any = make_model, **options: Any) -> Any:
    options = {"layout_map_for": lambda mesh: layout_map(mesh, RULES), "meshes": ((2, 4), (1, 8))} | options
    return check_resumes(make, *functions, batch(), **options)


def fails(code: str, functions: tuple[Any, Any], make: Any = make_model, **options: Any) -> str:
    # One device is enough for what does not depend on the mesh.
    options = {"layout_map_for": None} | options
    return failure(code, check_resumes, make, *functions, batch(), **options)


class TestRight:
    @pytest.fixture(autouse=True)
    def nothing_is_left_set(self, devices: list[str]) -> Any:
        import keras

        yield
        assert keras.distribution.distribution() is None

    def test_on_each_mesh(self) -> None:
        assert len(check(saver(everything))) == 2

    def test_low_precision_lora_and_an_optimizer_without_moments(self) -> None:
        check(saver(everything), lambda: make_model("mixed_bfloat16", lora=True, optimizer="sgd"), meshes=((4, 2),))

    def test_the_checkpoints_of_the_kit(self) -> None:
        import keras

        from kit.reference.checkpoint import resume_training, save_training

        def quiet() -> Any:
            # The kit's checkpoint has no statistics: `kit run` saves random states itself.
            model = keras.Sequential([keras.Input((12,)), keras.layers.Dense(8, name="up"), keras.layers.Dense(4)])
            model.compile("adamw", "mse")
            return model

        check_resumes(quiet, save_training, resume_training, batch())


class TestLostState:
    def test_keras_own_file_of_weights(self) -> None:
        """It has no state of a random generator."""
        text = fails("RESUMING_LOSES_STATE", (save_weights, load_weights), name="model.weights.h5")
        assert "1 variable (random state), saved on one device, is not bit-identical" in text

    def test_an_optimizer_that_is_not_built(self) -> None:
        """It has a step count and a rate; its moments are skipped without an error."""
        save, _ = saver(everything)

        def resume(model: Any, path: Path) -> None:
            for variable, value in zip(everything(model), pickle.loads(path.read_bytes()), strict=False):
                variable.assign(value)

        text = fails("RESUMING_LOSES_STATE", (save, resume))
        assert "12 variables (optimizer)" in text
        assert "build the optimizer before you assign them" in text

    @pytest.mark.parametrize(
        ("select", "kind", "remedy"),
        [
            (lambda model: model.variables, "optimizer", "Save and restore model.optimizer.variables"),
            (
                lambda model: [*model.weights, *model.optimizer.variables],
                "random state",
                "the states of the model's random generators",
            ),
            (
                lambda model: [*model.trainable_variables, *model.optimizer.variables],
                "state and random state",
                "the statistics of BatchNormalization",
            ),
        ],
    )
    def test_what_is_not_saved_is_named(self, select: Any, kind: str, remedy: str) -> None:
        text = fails("RESUMING_LOSES_STATE", saver(select))
        assert f"({kind}), saved on one device, " in text
        assert "they have the values of a new model" in text
        assert remedy in text

    def test_rounded_values(self) -> None:
        import jax.numpy as jnp

        def rounded(value: Any) -> Any:
            return value.astype(jnp.bfloat16) if value.dtype == "float32" else value

        text = fails("RESUMING_LOSES_STATE", saver(everything, rounded))
        assert "rounded to a dtype with fewer digits" in text

    def test_adapters_in_keras_own_file(self) -> None:
        text = fails(
            "RESUMING_LOSES_STATE",
            (save_weights, load_weights),
            lambda: make_model(lora=True),
            name="model.weights.h5",
        )
        assert "4 variables (trainable)" in text
        assert "both matrices of their adapters are 0" in text

    def test_values_in_another_order(self) -> None:
        save, _ = saver(everything)

        def resume(model: Any, path: Path) -> None:
            if not model.optimizer.built:
                model.optimizer.build(model.trainable_variables)
            by_shape: dict[Any, list[Any]] = {}
            for value in reversed(pickle.loads(path.read_bytes())):
                by_shape.setdefault((value.shape, str(value.dtype)), []).append(value)
            for variable in everything(model):
                variable.assign(by_shape[tuple(variable.shape), str(variable.dtype)].pop(0))

        assert "neither the saved values" in fails("RESUMING_LOSES_STATE", (save, resume))

    def test_shards_in_the_order_of_one_mesh(self) -> None:
        """Each device's shard in a list, which another mesh reads in its own order."""

        def save(model: Any, path: Path) -> None:
            shards = [[np.asarray(shard.data) for shard in one.value.addressable_shards] for one in everything(model)]
            path.write_bytes(pickle.dumps(shards))

        def resume(model: Any, path: Path) -> None:
            import jax

            model.optimizer.build(model.trainable_variables)
            for variable, shards in zip(everything(model), pickle.loads(path.read_bytes()), strict=True):
                value = variable.value
                parts = [
                    jax.device_put(np.resize(data, held.data.shape), held.device)
                    for data, held in zip(shards, value.addressable_shards, strict=True)
                ]
                variable._value = jax.make_array_from_single_device_arrays(value.shape, value.sharding, parts)

        text = failure("RESUMING_DEPENDS_ON_MESH", check, (save, resume))
        assert "saved on the mesh (2, 4), are not bit-identical on the mesh (1, 8)" in text


class TestOther:
    def test_saving_that_changes_the_model(self) -> None:
        save, resume = saver(everything)

        def merging(model: Any, path: Path) -> None:
            save(model, path)
            model.get_layer("up").bias.assign(model.get_layer("up").bias * 0)

        assert "1 variable changed while the run was saved" in fails("SAVING_CHANGES_THE_MODEL", (merging, resume))

    def test_saving_that_writes_elsewhere(self) -> None:
        save, resume = saver(everything)
        text = fails("SAVING_WRITES_NOTHING", (lambda model, path: save(model, path.with_suffix(".bin")), resume))
        assert "checkpoint.bin" in text

    def test_a_step_that_reads_something_else(self) -> None:
        """The loss counts how often it was traced, which no variable holds."""
        import keras

        calls = iter(range(100))

        def make() -> Any:
            model = make_model()
            number = next(calls)
            model.compile(
                keras.optimizers.Adam(0.01),
                lambda y, out: (1 + min(number, 1)) * keras.ops.mean((y - out) ** 2, axis=-1),
            )
            return model

        text = fails("RESUMING_LEAVES_THE_TRAJECTORY", saver(everything), make)
        assert "All variables are restored" in text
        calls = iter(range(100))
        endless = fails("MODEL_NOT_REPRODUCIBLE", saver(everything), lambda: _scaled(next(calls)))
        assert "Resumed twice from the same files" in endless

    def test_a_loss_that_depends_on_the_mesh(self) -> None:
        import keras

        def make() -> Any:
            model = make_model()
            replicas = keras.distribution.distribution().num_model_replicas
            model.compile(
                keras.optimizers.Adam(0.01), lambda y, out: replicas * keras.ops.mean((y - out) ** 2, axis=-1)
            )
            return model

        # Adam's moments follow the factor, but not before the first further step.
        text = failure("LOSS_DEPENDS_ON_MESH", check, saver(everything), make)
        assert "All variables are restored on the mesh (1, 8), but the losses" in text

    def test_steps_that_show_nothing(self) -> None:
        import keras

        def make() -> Any:
            model = make_model()
            model.compile(keras.optimizers.SGD(0.0), "mse")
            return model

        fails("NOTHING_TO_CHECK", saver(everything), make)
        text = failure(
            "LAYOUT_AXIS_DOES_NOT_DIVIDE", check_resumes, make, *saver(everything), batch(5), RULES.get, ((2, 4),)
        )
        assert "5 examples, which the mesh (2, 4)" in text


def _scaled(number: int) -> Any:
    import keras

    model = make_model()
    model.compile(keras.optimizers.Adam(0.01), lambda y, out: (1 + number) * keras.ops.mean((y - out) ** 2, axis=-1))
    return model
