"""A check of the losses on several meshes and on one device."""

import re
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest
from qwen_model import failure, layout_map, set_distribution

from kit.checks import check_mesh_invariance


class Small:
    """Builds a model of two matrices that compiles in a second; arguments make it wrong."""

    def __init__(self, learning_rate: float = 0.1, scale: Callable[[], float] = lambda: 1.0, seed: Any = None) -> None:
        self.learning_rate, self.scale, self.seed = learning_rate, scale, seed

    def __call__(self) -> Any:
        import keras

        # Unnamed layers: Keras would call them dense_2 and dense_3 the next time.
        initializer = keras.initializers.GlorotUniform(self.seed() if self.seed else None)
        model = keras.Sequential(
            [keras.Input((16,)), keras.layers.Dense(24, "relu", kernel_initializer=initializer), keras.layers.Dense(8)]
        )
        scale = self.scale()
        model.compile(
            optimizer=keras.optimizers.SGD(self.learning_rate),
            loss=lambda y, logits: scale * keras.ops.mean((y - logits) ** 2, axis=-1),
        )
        return model

    RULES: ClassVar[dict[str, Any]] = {
        "sequential/dense/kernel": (None, "model"),
        "sequential/dense_1/kernel": ("model", None),
    }

    @staticmethod
    def layout_map(mesh: Any) -> Any:
        return layout_map(mesh, Small.RULES)

    @staticmethod
    def batch(examples: int = 8) -> tuple[np.ndarray, np.ndarray]:
        random = np.random.default_rng(0)
        return random.normal(size=(examples, 16)).astype("float32"), random.normal(size=(examples, 8)).astype("float32")


def mesh_failure(
    code: str, make_model: Any, meshes: Any = ((2, 4),), examples: int = 8, rules: dict[str, Any] = Small.RULES
) -> str:
    batch = Small.batch(examples)
    return failure(code, check_mesh_invariance, make_model, batch, lambda mesh: layout_map(mesh, rules), meshes)


def replicas() -> float:
    """A mistake: this factor of the loss depends on the mesh."""
    import keras

    distribution = keras.distribution.distribution()
    return 1.0 / distribution.num_model_replicas if distribution else 1.0


@pytest.mark.train
class TestMeshInvariance:
    @pytest.fixture(autouse=True)
    def nothing_is_left_set(self, simulated_devices: list[str]) -> Any:
        import keras

        yield
        assert keras.distribution.distribution() is None

    def test_a_right_model_passes(self) -> None:
        before, after = check_mesh_invariance(Small(), Small.batch(), Small.layout_map)
        assert after < before

    def test_dicts_and_fewer_devices_and_other_names(self) -> None:
        import keras

        def model() -> Any:
            source = keras.Input((16,), name="source")
            made = keras.Model({"source": source}, keras.layers.Dense(8)(source))
            made.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
            return made

        x, y = Small.batch()
        check_mesh_invariance(
            model,
            ({"source": x}, y, np.ones(8)),
            lambda mesh: layout_map(mesh, {"dense/kernel": ("tensor", None)}),
            meshes=[(2, 2)],
            axis_names=("data", "tensor"),
        )

    def test_a_loss_that_depends_on_the_mesh(self) -> None:
        failed = mesh_failure("LOSS_DEPENDS_ON_MESH", Small(scale=replicas), ((1, 8), (2, 4)))
        assert "On the mesh (2, 4)" in failed
        assert re.search(r"\(2, 4\) +\S+ +\S+ +[56]\.\de-01", failed)
        assert re.search(r"\(1, 8\) +\S+ +\S+ +\d\.\de-0[789]|\(1, 8\) +\S+ +\S+ +0\.0e\+00", failed)

    def test_a_model_that_differs_at_each_call(self) -> None:
        seeds = iter(range(9))
        failed = mesh_failure("MODEL_NOT_REPRODUCIBLE", Small(seed=lambda: next(seeds)))
        assert "dense/kernel" in failed

    def test_a_model_that_was_built_before(self) -> None:
        model = Small()()
        # Keras cannot compute with it on a mesh, and its own error would not say why.
        rules = {".*kernel": (None, "model")}
        mesh_failure("LOADING_DISTRIBUTION_TOO_LATE", lambda: model, rules=rules)

    def test_a_model_that_was_built_on_a_mesh(self, device_mesh: Any) -> None:
        set_distribution(layout_map(device_mesh(2, 4), {".*kernel": (None, "model")}))
        model = Small()()
        failed = mesh_failure("LOADING_DISTRIBUTION_TOO_LATE", lambda: model)
        assert "the model for one device" in failed

    def test_steps_that_show_nothing(self) -> None:
        mesh_failure("NOTHING_TO_CHECK", Small(learning_rate=0.0))
        mesh_failure("LOSS_NOT_FINITE", Small(scale=lambda: float("nan")))

    @pytest.mark.parametrize(
        ("rules", "code"),
        [
            ({"nothing": ("model",)}, "NOTHING_TO_CHECK"),
            ({}, "NOTHING_TO_CHECK"),
            ({".*dense.*/kernel": (None, "model"), ".*dense_1/.*": ("model",)}, "LAYOUT_RULES_OVERLAP"),
            ({".*dense/kernel": (None, None, "model")}, "LAYOUT_SPEC_DOES_NOT_FIT"),
        ],
    )
    def test_rules_are_checked_before_training(self, rules: dict[str, Any], code: str) -> None:
        mesh_failure(code, Small(), [(1, 8)], rules=rules)

    @pytest.mark.parametrize(
        ("meshes", "examples", "code"),
        [
            ([], 8, "NOTHING_TO_CHECK"),
            ([(1, 1)], 8, "NOTHING_TO_CHECK"),
            ([(1, 8), (4, 4)], 8, "NOTHING_TO_CHECK"),
            ([(4, 2)], 6, "LAYOUT_AXIS_DOES_NOT_DIVIDE"),
            ([(4, 2)], 0, "NOTHING_TO_CHECK"),
        ],
    )
    def test_meshes_that_do_not_fit(self, meshes: list[tuple[int, int]], examples: int, code: str) -> None:
        mesh_failure(code, Small(), meshes, examples)

    def test_an_error_of_the_user_is_raised_unchanged(self) -> None:
        import keras

        def broken() -> Any:
            if keras.distribution.distribution():
                raise LookupError("theirs")
            return Small()()

        with pytest.raises(LookupError, match="theirs"):
            check_mesh_invariance(broken, Small.batch(), Small.layout_map, [(2, 4)])
        with pytest.raises(ValueError, match="steps"):
            check_mesh_invariance(Small(), Small.batch(), Small.layout_map, steps=1)


class Mixed:
    """A model of mixed precision; ``scale`` is a mistake."""

    RULES: ClassVar[dict[str, Any]] = {".*up/kernel": (None, "model"), ".*down/kernel": ("model", None)}

    def __init__(self, dtype: str, scale: Callable[[], float] = lambda: 1.0) -> None:
        self.dtype, self.scale = dtype, scale

    def __call__(self) -> Any:
        import keras

        layers = keras.layers
        model = keras.Sequential(
            [
                keras.Input((64,), dtype="float32"),
                layers.Dense(256, activation="gelu", name="up", dtype=self.dtype),
                layers.Dense(8, name="down", dtype=self.dtype),
            ]
        )
        scale = self.scale()
        model.compile(
            optimizer=keras.optimizers.SGD(0.1), loss=lambda y, out: scale * keras.ops.mean((y - out) ** 2, axis=-1)
        )
        return model

    @staticmethod
    def batch() -> tuple[np.ndarray, np.ndarray]:
        random = np.random.default_rng(0)
        return random.normal(size=(16, 64)), random.normal(size=(16, 8))


@pytest.mark.train
class TestComputeDtypes:
    @pytest.mark.parametrize("dtype", ["mixed_bfloat16", "bfloat16", "mixed_float16"])
    def test_the_tolerance_follows_the_compute_dtype(self, dtype: str, simulated_devices: list[str]) -> None:
        check_mesh_invariance(Mixed(dtype), Mixed.batch(), lambda mesh: layout_map(mesh, Mixed.RULES), ((2, 4), (8, 1)))

    def test_a_dependence_is_found_and_the_dtype_named(self, simulated_devices: list[str]) -> None:
        made = Mixed("mixed_bfloat16", replicas)
        failed = failure(
            "LOSS_DEPENDS_ON_MESH",
            check_mesh_invariance,
            made,
            Mixed.batch(),
            lambda mesh: layout_map(mesh, Mixed.RULES),
            ((2, 4),),
        )
        text = re.sub(r"\s+", " ", failed)
        assert "the relative tolerance of 0.002, that of bfloat16, which the model computes in" in text
        assert "Build the model in float32 first" in text


def unbuilt_sequential() -> Any:
    import keras

    return keras.Sequential([keras.layers.Dense(64, name="up"), keras.layers.Dense(8, name="down")])


def unbuilt_subclass() -> Any:
    import keras

    class Model(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = keras.layers.Dense(64, name="up"), unbuilt_sequential()

        def call(self, inputs: Any) -> Any:
            return self.down(self.up(inputs["x"] if isinstance(inputs, dict) else inputs))

    return Model()


@pytest.mark.train
@pytest.mark.parametrize(
    ("make", "named"), [(unbuilt_sequential, False), (unbuilt_subclass, False), (unbuilt_subclass, True)]
)
def test_a_model_that_is_not_built_is_called_on_the_batch(
    make: Callable[[], Any], named: bool, simulated_devices: list[str]
) -> None:
    import keras

    def compiled() -> Any:
        model = make()
        model.compile(loss="mse", optimizer=keras.optimizers.SGD(0.1))
        return model

    x = np.random.default_rng(0).normal(size=(16, 12))
    batch = ({"x": x} if named else x, np.ones((16, 8)))
    check_mesh_invariance(compiled, batch, lambda mesh: layout_map(mesh, {".*up/kernel": (None, "model")}), ((2, 4),))
