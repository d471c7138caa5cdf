"""A check that nothing depends on the order of the devices in a mesh."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from qwen_model import failure as wrapped_failure
from qwen_model import layout_map

from kit.checks import check_device_order

#: All of these compile and run steps.
pytestmark = pytest.mark.train

RULES = {".*up/kernel": (None, "model"), ".*down/kernel": ("model", None)}
ORDERS = ((0, 1, 2, 3), (3, 2, 1, 0))


def failure(*arguments: Any, **keywords: Any) -> str:
    """The diagnostic in one line."""
    return " ".join(wrapped_failure(*arguments, **keywords).split())


def batch(examples: int = 8) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.normal(size=(examples, 12)).astype("float32"), random.normal(size=(examples, 4)).astype("float32")


def make_model(lora: int = 0, factor: Callable[[], float] = lambda: 1.0, dtype: str = "float32") -> Any:
    import keras

    model = keras.Sequential(
        [
            keras.Input((12,)),
            keras.layers.Dense(8, "tanh", name="up", dtype=dtype),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(4, name="down", dtype=dtype),
        ]
    )
    if lora:
        model.get_layer("up").enable_lora(lora)
        model.get_layer("down").enable_lora(lora)
    scale = factor()
    model.compile(keras.optimizers.Adam(0.01), lambda y, out: scale * keras.ops.mean((y - out) ** 2, axis=-1))
    return model


def mesh_devices() -> list[str]:
    import keras

    return list(keras.distribution.distribution().device_mesh.devices.ravel())


def fails(code: str, make: Any = make_model, rules: Callable[[Any], Any] = lambda mesh: layout_map(mesh, RULES)) -> str:
    return failure(code, check_device_order, make, batch(), rules, (2, 2), ORDERS)


def test_right_models(devices: list[str]) -> None:
    import keras

    rules = lambda mesh: layout_map(mesh, RULES)  # noqa: E731
    orders = check_device_order(lambda: make_model(lora=2), batch(), rules, (2, 2))
    assert orders == ((0, 1, 2, 3), (0, 2, 1, 3), (3, 1, 0, 2))
    assert keras.distribution.distribution() is None
    check_device_order(lambda: make_model(dtype="mixed_bfloat16"), batch(), rules, (2, 2), ORDERS)


def test_a_loss_that_reads_the_number_of_a_device(devices: list[str]) -> None:
    text = fails("DEVICE_ORDER_CHANGES_LOSSES", lambda: make_model(factor=lambda: 1.0 + mesh_devices().index("cpu:0")))
    assert "The model and its collectives are the same in each order" in text
    assert "with 3 2 1 0 a loss differs by more than the relative tolerance of 1e-05" in text


def test_a_layout_map_that_depends_on_the_order(devices: list[str]) -> None:
    def rules(mesh: Any) -> Any:
        return layout_map(mesh, RULES if mesh.devices.ravel()[0] == "cpu:0" else {".*up/kernel": (None, "model")})

    assert "other bytes per device" in fails("DEVICE_ORDER_CHANGES_PROGRAM", rules=rules)


def sorting_loss(y: Any, out: Any) -> Any:
    import keras

    return keras.ops.mean((y - out) ** 2) + 0.0 * keras.ops.sum(keras.ops.sort(out, axis=0))


def test_a_model_that_depends_on_the_order(devices: list[str]) -> None:
    """With some device first, it adds a sum over the batch to the outputs."""
    import keras

    def make() -> Any:
        model = make_model()
        if mesh_devices()[0] != "cpu:0":
            model.compile(keras.optimizers.Adam(0.01), sorting_loss)
        return model

    text = fails("DEVICE_ORDER_CHANGES_PROGRAM", make)
    assert "other collectives" in text
    assert "The layouts are the same" in text


def test_shards_by_the_numbers_of_devices(devices: list[str]) -> None:
    """The devices 0, 1, 2, 3 get the slices of a matrix, whatever their place in the mesh is."""
    import jax

    def make() -> Any:
        model = make_model()
        kernel = model.get_layer("up").kernel
        value = kernel.value
        size = value.addressable_shards[0].data.shape[1]
        parts = np.split(np.arange(12.0 * 8, dtype="float32").reshape(12, 8), 8 // size, axis=1)
        by_number = sorted(value.sharding.device_set, key=lambda device: device.id)
        shards = [jax.device_put(parts[number % len(parts)], one) for number, one in enumerate(by_number)]
        kernel._value = jax.make_array_from_single_device_arrays(value.shape, value.sharding, shards)
        return model

    text = fails("DEVICE_ORDER_CHANGES_VALUES", make)
    assert "Before training, 1 variable has other values" in text
    assert "the same numbers, in other places" in text


def test_a_model_that_differs_at_each_call(devices: list[str]) -> None:
    import keras

    seeds = iter(range(9))

    def make() -> Any:
        initializer = keras.initializers.GlorotUniform(next(seeds))
        model = keras.Sequential([keras.Input((12,)), keras.layers.Dense(4, name="up", kernel_initializer=initializer)])
        model.compile("adam", "mse")
        return model

    assert "seed other random numbers" in fails("DEVICE_ORDER_CHANGES_VALUES", make)


def test_nothing_to_check(devices: list[str]) -> None:
    rules = {"layout_map_for": lambda mesh: layout_map(mesh, RULES)}
    failure("NOTHING_TO_CHECK", check_device_order, make_model, batch(), **rules, mesh=(2, 2), orders=[(0, 1, 2, 3)])
    failure("NOTHING_TO_CHECK", check_device_order, make_model, batch(), **rules, mesh=(4, 4))
    failure("LAYOUT_AXIS_DOES_NOT_DIVIDE", check_device_order, make_model, batch(5), **rules)
    with pytest.raises(ValueError, match="once"):
        check_device_order(make_model, batch(), **rules, mesh=(2, 2), orders=[(0, 1, 2, 3), (0, 0, 1, 2)])
