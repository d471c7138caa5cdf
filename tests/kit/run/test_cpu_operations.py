"""Operations on the CPU: the values and gradients of Keras and KerasHub, from another program."""

from typing import Any

import jax
import jax.numpy as jnp
import keras
import keras_hub
import numpy as np
import pytest

from kit.course.shared.small_models import set_distribution
from kit.reference import lora, training
from kit.run.cpu_operations import compute_faster, cross_entropy, faster_loss, gated_gelu, masked_softmax


def test_a_masked_softmax_and_its_gradient() -> None:
    """Held to Keras' layer; a row that is masked completely has weights and gradients of 0."""
    random = np.random.default_rng(0)
    scores, gradient = (jnp.asarray(random.normal(size=(2, 3, 5, 7)), "float32") for _ in range(2))
    mask = jnp.asarray(random.integers(0, 2, size=(2, 1, 5, 7)), bool).at[0, 0, 2].set(False)
    assert 0 < int(mask.sum()) < mask.size
    layer = keras.layers.Softmax(dtype="float32")
    expected, expected_vjp = jax.vjp(lambda values: layer(values, mask=mask), scores)
    found, found_vjp = jax.vjp(lambda values: masked_softmax(values, mask), scores)
    np.testing.assert_array_equal(found, expected)
    assert not np.any(found[0, :, 2])
    (found_gradient,), (expected_gradient,) = found_vjp(gradient), expected_vjp(gradient)
    np.testing.assert_allclose(found_gradient, expected_gradient, rtol=1e-5, atol=1e-7)
    assert not np.any(found_gradient[0, :, 2])


def test_a_gated_gelu_and_its_gradient() -> None:
    """Held to Keras' activation, also where the hyperbolic tangent is 1."""
    random = np.random.default_rng(0)
    gate, values, gradient = (jnp.asarray(random.normal(size=(3, 40)), "float32") for _ in range(3))
    gate = gate.at[0, :4].set(jnp.asarray([-30, -6, 6, 30], "float32"))
    expected, expected_vjp = jax.vjp(
        lambda gate, values: keras.activations.gelu(gate, approximate=True) * values, gate, values
    )
    found, found_vjp = jax.vjp(gated_gelu, gate, values)
    np.testing.assert_array_equal(found, expected)
    for found_gradient, expected_gradient in zip(found_vjp(gradient), expected_vjp(gradient), strict=True):
        np.testing.assert_allclose(found_gradient, expected_gradient, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scale", [1, 100])
@pytest.mark.parametrize("mesh", [None, (1, 8)])
def test_a_cross_entropy_and_its_gradient(scale: float, mesh: tuple[int, int] | None) -> None:
    """Held to Keras' loss, also with logits whose exponentials overflow in float32."""
    keras.distribution.set_distribution(None)
    if mesh:
        set_distribution(*mesh)
    random = np.random.default_rng(0)
    logits = jnp.asarray(scale * random.normal(size=(2, 5, 33)), "float32")
    targets = jnp.asarray(random.integers(0, 33, size=(2, 5)))
    gradient = jnp.asarray(random.uniform(size=(2, 5)), "float32").at[1, 3:].set(0)

    def keras_loss(values: Any) -> Any:
        return keras.ops.sparse_categorical_crossentropy(targets, values, from_logits=True)

    expected, expected_vjp = jax.vjp(keras_loss, logits)
    for function in (lambda values: cross_entropy(values, targets), faster_loss(keras_loss)):
        found, found_vjp = jax.vjp(function, logits)
        np.testing.assert_allclose(found, expected, rtol=2e-6, atol=2e-6)
        np.testing.assert_allclose(found_vjp(gradient)[0], expected_vjp(gradient)[0], rtol=1e-5, atol=1e-6)
        assert not np.any(found_vjp(gradient)[0][1, 3:])


def test_keras_has_its_own_operations_after_a_call() -> None:
    """Also after a call that fails; and a loss of probabilities is Keras' own."""
    probabilities = jnp.asarray([[0.25, 0.5, 0.25]])
    loss = keras.losses.SparseCategoricalCrossentropy()
    assert float(faster_loss(loss)(jnp.asarray([1]), probabilities)) == pytest.approx(np.log(2))
    before = keras.src.backend.nn.sparse_categorical_crossentropy
    called = []

    def fail() -> None:
        called.append(keras.src.backend.nn.sparse_categorical_crossentropy)
        raise KeyError

    with pytest.raises(KeyError):
        faster_loss(fail)()
    assert called[0] is not before
    assert keras.src.backend.nn.sparse_categorical_crossentropy is before


def small_gemma(heads: int, key_value_heads: int) -> Any:
    """A compiled Gemma with LoRA, without a preprocessor."""
    keras.utils.set_random_seed(3)
    backbone = keras_hub.models.GemmaBackbone(
        vocabulary_size=96,
        num_layers=2,
        num_query_heads=heads,
        num_key_value_heads=key_value_heads,
        hidden_dim=24,
        intermediate_dim=48,
        head_dim=6,
    )
    model = keras_hub.models.GemmaCausalLM(backbone=backbone, preprocessor=None)
    lora.enable_lora(model, 2)
    training.compile_for_finetuning(model, 0.01, 0.01)
    model.optimizer.build(model.trainable_variables)
    return model


@pytest.mark.parametrize(("mesh", "key_value_heads"), [((1, 1), 8), ((1, 8), 8), ((4, 2), 2)])
def test_training_has_the_losses_of_keras_hub(mesh: tuple[int, int], key_value_heads: int) -> None:
    """With one key and value head for each query head, and with groups of heads."""
    random = np.random.default_rng(0)
    tokens = random.integers(3, 96, size=(4, 11)).astype("int32")
    padding = np.ones((4, 11), "int32")
    padding[1, 7:] = 0
    batch = ({"token_ids": tokens, "padding_mask": padding}, np.roll(tokens, -1, axis=1), padding.astype("float32"))
    losses = []
    for faster in (False, True):
        keras.distribution.set_distribution(None)
        if mesh != (1, 1):
            set_distribution(*mesh)
        model = small_gemma(8, key_value_heads)
        if faster:
            assert compute_faster(model) == 4
        step = training.make_train_step(model)
        if faster:
            step = faster_loss(step)
        groups = (model.trainable_variables, model.non_trainable_variables, model.optimizer.variables)
        state = tuple([jnp.copy(variable.value) for variable in variables] for variables in groups)
        found = []
        for _ in range(4):
            state, loss = step(state, batch)
            found.append(float(loss))
        losses.append(found)
    assert losses[0][0] - losses[0][-1] > 0.01
    np.testing.assert_allclose(losses[1], losses[0], rtol=2e-6)
