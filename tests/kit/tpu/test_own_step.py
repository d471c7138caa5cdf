"""Steps of your own models, built without values."""

import math
from collections.abc import Callable
from typing import Any

import jax
import keras
import numpy as np
import own_models
import pytest
from own_models import own

from kit.errors import UserError
from kit.evidence.rule_coverage import LayoutError
from kit.models.weightless import fresh_names
from kit.tpu.own_step import build_own_model

MESH = {"batch": 2, "model": 4}


class TestStep:
    """Lowered for simulated devices, so that it can run."""

    def test_it_is_the_one_that_fit_runs(self) -> None:
        built = build_own_model(own(own_models.functional, own_models.layout_map, mesh=MESH), jax.devices())
        step = built.lower(jax.devices())
        mesh = keras.distribution.DeviceMesh((2, 4), ["batch", "model"])
        distribution = keras.distribution.ModelParallel(
            layout_map=own_models.layout_map(mesh), batch_dim_name="batch", auto_shard_dataset=False
        )
        real = keras.distribution.ModelParallel(
            layout_map=without_outputs(mesh), batch_dim_name="batch", auto_shard_dataset=False
        )
        keras.distribution.set_distribution(real)
        with fresh_names():
            model = own_models.functional()
        model.optimizer.build(model.trainable_variables)
        tokens = np.random.default_rng(0).integers(64, size=(4, 7)).astype("int32")
        data = (tokens[:, :-1], tokens[:, 1:], None)
        model._symbolic_build(data_batch=data)
        groups = ("trainable_variables", "non_trainable_variables", "optimizer_variables", "metrics_variables")
        lists = [getattr(model, name, None) or model.optimizer.variables for name in groups]
        lists[1], lists[2] = model.non_trainable_variables, model.optimizer.variables
        for slots, variables in zip(step.slots, lists, strict=True):
            assert [slot.path for slot in slots] == [variable.path for variable in variables]
            assert [slot.spec for slot in slots] == [spec_of(variable) for variable in variables]
        state = tuple([jax.numpy.copy(variable.value) for variable in variables] for variables in lists)
        sharded = jax.device_put(data, distribution.get_data_layout((4, 6)).backend_layout)
        logs, _ = step.lowered.compile()(state, sharded)
        expected = model.train_on_batch(data[0], data[1], return_dict=True)
        assert float(logs["loss"]) == pytest.approx(float(expected["loss"]), rel=1e-6)

    @pytest.mark.parametrize("make", [own_models.subclassed, own_models.subclassed_and_called])
    def test_a_model_that_a_batch_builds(self, make: Callable[[], keras.Model]) -> None:
        built = build_own_model(own(make, own_models.own_map, mesh=MESH), jax.devices())
        step = built.lower(jax.devices())
        assert [len(rule.paths) for rule in step.coverage.rules] == [1, 2, 2]
        assert step.kinds.blocks == 2
        assert step.kinds("own/block_1/up/kernel") == "own/block_N/up/kernel"
        moments = [slot for slot in step.slots[2] if slot.variable == "own/block_0/up/kernel"]
        assert [slot.spec for slot in moments] == [(None, "model")] * 2
        assert (built.settings.batch_size, built.settings.sequence_length) == (4, 6)

    def test_a_sequential_without_an_input(self) -> None:
        built = build_own_model(own(own_models.sequential, keras.distribution.LayoutMap, (8, 5)), jax.devices())
        inputs, targets, weights = built.data
        assert (inputs.shape, inputs.dtype, targets.shape, weights) == ((8, 5), "float32", (8, 3), None)
        assert len(built.lower(jax.devices()).slots[2]) == 2 + 4

    @pytest.mark.parametrize(
        ("make", "axes", "batch_axis", "rules"),
        [
            (own_models.with_distribution, {"data": 2, "tensor": 4}, "data", 2),
            (own_models.data_parallel, {"batch": 8}, "batch", 0),
        ],
    )
    def test_a_function_that_sets_the_distribution(
        self, make: Callable[[], keras.Model], axes: dict[str, int], batch_axis: str, rules: int
    ) -> None:
        step = build_own_model(own(make, batch=(8, 6)), jax.devices()).lower(jax.devices())
        assert (step.axes, step.batch_axis, len(step.coverage.rules)) == (axes, batch_axis, rules)
        assert keras.distribution.distribution() is None
        # Another layout map takes the place of theirs, on their mesh.
        replaced = build_own_model(own(make, keras.distribution.LayoutMap, (8, 6)), jax.devices())
        assert tuple(replaced.distribution.device_mesh.axis_names) == tuple(axes)
        assert {slot.spec for group in replaced.lower(jax.devices()).slots for slot in group} <= {
            (),
            (None,),
            (None, None),
        }

    def test_lora(self) -> None:
        built = build_own_model(own(own_models.with_lora, own_models.layout_map), jax.devices())
        assert built.settings.rank == 4
        trained = {variable.path for variable in built.model.trainable_variables}
        assert {"dense_1/lora_kernel_a", "dense_1/lora_kernel_b"} < trained
        assert not trained & {"dense_1/kernel", "embed/embeddings"}

    def test_a_batch_of_arrays(self) -> None:
        def arrays() -> Any:
            return np.zeros((4, 6), "int64"), np.zeros((4, 6), "int64"), np.ones((4, 6))

        built = build_own_model(own(own_models.functional, own_models.layout_map, arrays), jax.devices())
        assert [str(array.dtype) for array in built.data] == ["int32", "int32", "float32"]

    def test_no_value_is_computed(self) -> None:
        def large() -> keras.Model:
            model = keras.Sequential([keras.Input((100_000,)), keras.layers.Dense(100_000), keras.layers.Dense(1)])
            model.compile("adam", "mse")
            model.optimizer.build(model.trainable_variables)
            return model

        before = sum(array.nbytes for array in jax.live_arrays())
        step = build_own_model(own(large, keras.distribution.LayoutMap, (8,)), jax.devices()).lower(jax.devices())
        assert sum(math.prod(slot.shape) for group in step.slots for slot in group) > 3e10
        assert sum(array.nbytes for array in jax.live_arrays()) - before < 1e6


def without_outputs(mesh: keras.distribution.DeviceMesh) -> keras.distribution.LayoutMap:
    """Keras cannot build a functional model while a rule for an output is set."""
    made = own_models.layout_map(mesh)
    del made["embed/output"]
    return made


def spec_of(variable: keras.Variable) -> tuple[str | None, ...]:
    axes = tuple(variable._layout.axes)
    return axes + (None,) * (len(variable.shape) - len(axes))


def not_compiled() -> keras.Model:
    return keras.Sequential([keras.layers.Dense(1)])


def nothing() -> None:
    pass


def fails() -> keras.Model:
    return undefined  # noqa: F821


def reads() -> keras.Model:
    model = keras.Sequential([keras.Input((1000,)), keras.layers.Dense(1000)])
    model.get_weights()
    return model


def takes_one(size: int) -> int:
    return size


def early() -> keras.Model:
    model = own_models.functional()
    keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))
    model.get_layer("dense").enable_lora(2)
    return model


def no_map(device_mesh: Any) -> dict[str, Any]:
    return {}


def twice(device_mesh: keras.distribution.DeviceMesh) -> keras.distribution.LayoutMap:
    made = own_models.layout_map(device_mesh)
    made["dense_2/.*"] = (None,)
    return made


def wrong_targets() -> Any:
    return np.zeros((4, 6), "int32"), np.zeros((4, 6, 3), "int32")


class TestMistakes:
    @pytest.mark.parametrize(
        ("model", "message"),
        [
            (own(not_compiled), "own_models.py:not_compiled: the model is not compiled, and a training step needs"),
            (own(nothing), "own_models.py:nothing: it returned nothing, not a keras.Model."),
            (own(fails), r"failed at test_own_step.py:\d+ \(NameError: name 'undefined' is not defined\)."),
            (own(reads), r"reads at test_own_step.py:\d+: it reads the values of sequential/dense/kernel \(4.0 MB\)"),
            (own(takes_one), "is called without arguments, but it requires 1; give the others a default"),
            (own(early), "variables, such as embed/embeddings, are created before `set_distribution` is called"),
            (own(own_models.functional), "own_models.py:functional: it sets no distribution, so nothing would be"),
            (own(own_models.functional, no_map), "own_models.py:no_map: it returned a dict, not a keras.distrib"),
            (own(own_models.functional, own_models.layout_map, (4,)), "--batch 4: the model's input tokens has the"),
            (
                own(own_models.functional, own_models.layout_map, (3, 6), mesh=MESH),
                '--batch: 3 examples cannot be split into 2 equal parts, one for each device along the axis "batch"',
            ),
            (
                own(own_models.functional, own_models.layout_map, wrong_targets),
                "own_models.py:functional: the model on this batch fails",
            ),
            (own(own_models.functional, own_models.layout_map, mesh={"batch": 1, "model": 4}), "it needs 4 devices"),
        ],
    )
    def test_one_sentence(self, model: Any, message: str) -> None:
        with pytest.raises(UserError, match=message) as raised:
            build_own_model(model, jax.devices())
        assert "\n" not in str(raised.value)
        assert keras.distribution.distribution() is None

    def test_what_keras_would_refuse(self) -> None:
        with pytest.raises(LayoutError, match="2 rules for dense_2/kernel"):
            build_own_model(own(own_models.functional, twice), jax.devices())
