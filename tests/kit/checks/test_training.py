"""A check that the loss falls, and that what is trainable trains and nothing else."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from qwen_model import failure as wrapped_failure
from qwen_model import layout_map, make_backbone, set_distribution

from kit.checks import check_trains

#: All of these compile and run steps.
pytestmark = pytest.mark.train


def failure(*arguments: Any, **keywords: Any) -> str:
    """The diagnostic in one line."""
    return " ".join(wrapped_failure(*arguments, **keywords).split())


def batch(examples: int = 8) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.normal(size=(examples, 12)).astype("float32"), random.normal(size=(examples, 5)).astype("float32")


def made(layers: Callable[[Any], list[Any]], dtype: str = "float32", rate: float = 0.05, optimizer: Any = None) -> Any:
    """A compiled model of an input and these layers."""
    import keras

    model = keras.Sequential([keras.Input((12,)), *layers(dtype)])
    model.compile(optimizer=optimizer or keras.optimizers.SGD(rate), loss="mse", metrics=["mae"])
    return model


def plain(dtype: str) -> list[Any]:
    import keras

    return [keras.layers.Dense(9, "tanh", dtype=dtype, name="up"), keras.layers.Dense(5, dtype=dtype, name="down")]


def stateful(dtype: str) -> list[Any]:
    import keras

    up, down = plain(dtype)
    return [up, keras.layers.BatchNormalization(), keras.layers.Dropout(0.5), down]


def everything(model: Any) -> list[bytes]:
    """All values of a model, its optimizer and its metrics."""
    variables = [*model.variables, *model.optimizer.variables, *model.metrics_variables]
    return [np.asarray(variable.value).tobytes() for variable in variables]


def language_batch(examples: int = 8) -> tuple[dict[str, np.ndarray], np.ndarray]:
    tokens = np.random.default_rng(0).integers(64, size=(examples, 7))
    return {"token_ids": tokens[:, :-1], "padding_mask": np.ones((examples, 6), bool)}, tokens[:, 1:]


class TestRight:
    @pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16", "mixed_float16"])
    def test_state_and_precision(self, dtype: str) -> None:
        losses = check_trains(made(stateful, dtype), batch())
        assert len(losses) == 4
        assert min(losses[1:]) < losses[0]

    def test_the_model_is_left_unchanged(self) -> None:
        import keras

        model = made(stateful, optimizer=keras.optimizers.AdamW(0.01, weight_decay=0.1))
        optimizer, metrics = model.optimizer, model._compile_metrics
        before = [np.asarray(variable.value).tobytes() for variable in model.variables]
        check_trains(model, batch())
        assert (model.optimizer, model._compile_metrics) == (optimizer, metrics)
        assert not optimizer.built
        assert not metrics.built
        assert [np.asarray(variable.value).tobytes() for variable in model.variables] == before

        model.fit(*batch(), verbose=0)
        before, function = everything(model), model.train_function
        check_trains(model, batch())
        assert everything(model) == before
        assert model.train_function is function
        assert model.optimizer.weight_decay == 0.1

    def test_lora_on_a_mesh_with_a_sampler(self, device_mesh: Any) -> None:
        import keras_hub

        set_distribution(layout_map(device_mesh(2, 4)))
        model = keras_hub.models.Qwen3CausalLM(backbone=make_backbone(lora_rank=2, num_layers=1))
        model.compile(optimizer="adamw", loss="sparse_categorical_crossentropy", sampler="top_k")
        sampler = model.sampler
        check_trains(model, language_batch())
        assert model.sampler is sampler
        # The batch axis has two devices.
        assert "3 examples, which the mesh (2, 4)" in failure(
            "LAYOUT_AXIS_DOES_NOT_DIVIDE", check_trains, model, language_batch(3)
        )

    def test_a_model_that_is_not_built(self) -> None:
        import keras

        model = keras.Sequential([keras.layers.Dense(5)])
        model.compile("adam", "mse")
        check_trains(model, batch())

    def test_quantized_with_lora(self) -> None:
        model = made(plain)
        for layer in model.layers:
            layer.quantize("int8")
            layer.bias.trainable = False
        model.compile("adam", "mse")
        text = failure("TRAINING_NOTHING_TRAINABLE", check_trains, model, batch())
        assert "2 of them are quantized" in text
        assert "Enable LoRA" in text
        for layer in model.layers:
            layer.enable_lora(2)
        model.compile("adam", "mse")
        check_trains(model, batch())


def cut(dtype: str) -> list[Any]:
    import keras

    up, down = plain(dtype)
    return [up, keras.layers.Lambda(lambda x: keras.ops.stop_gradient(x), name="stop"), down]


def masked(dtype: str) -> list[Any]:
    import keras

    up, down = plain(dtype)
    return [up, keras.layers.Lambda(lambda x: keras.ops.minimum(x, -3.0), name="clip"), down]


class TestGradients:
    def test_a_layer_that_nothing_reads(self) -> None:
        import keras

        class Model(keras.Model):
            def __init__(self) -> None:
                super().__init__()
                self.used, self.unused = keras.layers.Dense(5, name="used"), keras.layers.Dense(5, name="unused")

            def call(self, inputs: Any) -> Any:
                self.unused(inputs)
                return self.used(inputs)

        model = Model()
        # Decay and a penalty move a weight without a gradient of the loss.
        model.unused.kernel_regularizer = keras.regularizers.L2(0.1)
        model.compile(keras.optimizers.AdamW(0.01, weight_decay=0.5), "mse")
        text = failure("TRAINING_NO_GRADIENT", check_trains, model, batch())
        assert "2 of 4 trainable variables have no gradient in 3 steps: nothing on the way to the loss reads" in text
        assert "unused/kernel" in text

    def test_an_operation_without_a_gradient(self) -> None:
        text = failure("TRAINING_NO_GRADIENT", check_trains, made(cut), batch())
        assert "2 of 4" in text
        assert "operation without a gradient" in text

    def test_a_gradient_that_is_zero(self) -> None:
        text = failure("TRAINING_NO_GRADIENT", check_trains, made(masked), batch())
        assert "it is computed, and is 0 everywhere" in text

    def test_adapters_that_load_weights_has_set_to_zero(self, tmp_path: Any) -> None:
        import keras

        model = made(plain)
        for layer in model.layers:
            layer.enable_lora(2)
            layer.bias.trainable = False
        model.compile(keras.optimizers.SGD(0.05), "mse")
        check_trains(model, batch())
        model.save_weights(tmp_path / "model.weights.h5")
        model.load_weights(tmp_path / "model.weights.h5")
        text = failure("TRAINING_NO_GRADIENT", check_trains, model, batch())
        assert "4 of 4" in text
        assert "both matrices of their adapters are 0" in text

    def test_a_gradient_that_is_not_finite(self) -> None:
        import keras

        # The root of 0 is 0, and its slope is infinite.
        def root(dtype: str) -> list[Any]:
            return [*plain(dtype), keras.layers.Lambda(lambda x: keras.ops.sqrt(keras.ops.relu(x) * 0.0))]

        failure("TRAINING_GRADIENT_NOT_FINITE", check_trains, made(root), batch())


class TestUpdates:
    def test_a_rate_of_zero(self) -> None:
        assert "learning rate is 0" in failure("TRAINING_UPDATE_IS_LOST", check_trains, made(plain, rate=0.0), batch())

    def test_updates_that_rounding_loses(self) -> None:
        text = failure("TRAINING_UPDATE_IS_LOST", check_trains, made(plain, "bfloat16", rate=1e-7), batch())
        assert "smaller than the steps of bfloat16" in text

    def test_an_optimizer_for_what_was_trainable_before(self) -> None:
        model = made(plain)
        model.fit(*batch(), verbose=0)
        model.get_layer("up").trainable = False
        text = failure("TRAINING_OPTIMIZER_IS_STALE", check_trains, model, batch())
        assert "built for 4 variables, and the model has 2" in text
        assert "up/kernel" in text

    def test_a_rate_that_is_too_large(self) -> None:
        text = failure("TRAINING_LOSS_DOES_NOT_FALL", check_trains, made(plain, rate=50.0), batch())
        assert "too large" in text

    def test_a_step_that_climbs(self) -> None:
        import keras

        class Climbing(keras.optimizers.SGD):
            def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
                super().update_step(-gradient, variable, learning_rate)

        text = failure("TRAINING_LOSS_DOES_NOT_FALL", check_trains, made(plain, optimizer=Climbing(0.05)), batch())
        assert "falls with neither" in text


class TestFrozen:
    def test_a_train_step_that_moves_what_is_frozen(self) -> None:
        import keras

        class Model(keras.Sequential):
            def train_step(self, state: Any, data: Any) -> Any:
                logs, (trainable, frozen, *rest) = super().train_step(state, data)
                return logs, (trainable, [value * 0.5 for value in frozen], *rest)

        model = Model([keras.Input((12,)), *plain("float32")])
        model.get_layer("up").trainable = False
        model.compile(keras.optimizers.SGD(0.05), "mse")
        text = failure("TRAINING_FROZEN_VARIABLE_MOVES", check_trains, model, batch())
        assert "Model.train_step returns other values" in text

    def test_a_layer_that_assigns_its_frozen_weight(self) -> None:
        import keras

        class Assigning(keras.layers.Dense):
            def call(self, inputs: Any, training: bool = False) -> Any:
                self.kernel.assign(self.kernel * 0.9)
                return super().call(inputs)

        model = made(lambda dtype: [Assigning(9, name="up"), keras.layers.Dense(5)])
        model.get_layer("up").trainable = False
        model.compile(keras.optimizers.SGD(0.05), "mse")
        text = failure("TRAINING_FROZEN_VARIABLE_MOVES", check_trains, model, batch())
        assert "1 frozen variable moves within 3 steps: the forward pass assigns" in text


def own_step(loss: str, factor: float) -> Any:
    """A model with a train_step of its own, whose gradient has this factor."""
    import jax
    import keras

    class Model(keras.Sequential):
        def train_step(self, state: Any, data: Any) -> Any:
            trainable, non_trainable, optimizer, metrics = state
            x, y, _ = keras.utils.unpack_x_y_sample_weight(data)

            def compute(values: Any) -> Any:
                out, _ = self.stateless_call(values, non_trainable, x)
                return keras.ops.mean((y - out) ** 2)

            value, gradients = jax.value_and_grad(compute)(trainable)
            gradients = [factor * gradient for gradient in gradients]
            trainable, optimizer = self.optimizer.stateless_apply(optimizer, gradients, trainable)
            return {loss: value}, (trainable, non_trainable, optimizer, metrics)

    model = Model([keras.Input((12,)), *plain("float32")])
    model.compile(keras.optimizers.SGD(0.05))
    return model


def test_a_train_step_of_the_users_own() -> None:
    check_trains(own_step("loss", 1.0), batch())
    assert "reports no loss, but my_loss" in failure(
        "NOTHING_TO_CHECK", check_trains, own_step("my_loss", 1.0), batch()
    )
    text = failure("TRAINING_NO_GRADIENT", check_trains, own_step("loss", 0.0), batch())
    assert "the model's own train_step gives the optimizer a gradient of 0" in text


def test_nothing_to_check() -> None:
    import keras

    failure("NOTHING_TO_CHECK", check_trains, keras.Sequential([keras.Input((12,)), keras.layers.Dense(5)]), batch())
    failure("NOTHING_TO_CHECK", check_trains, made(plain), batch(0))
    text = failure("NOTHING_TO_CHECK", check_trains, made(plain), (*batch(), np.zeros(8)))
    assert "All sample weights of the batch are 0" in text
    with pytest.raises(ValueError, match="steps"):
        check_trains(made(plain), batch(), steps=1)
