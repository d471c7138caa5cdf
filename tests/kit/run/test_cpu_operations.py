"""Attention on the CPU: KerasHub's values and gradients, from another program."""

from typing import Any

import jax
import jax.numpy as jnp
import keras
import keras_hub
import numpy as np
import pytest

from kit.course.shared.small_models import set_distribution
from kit.reference import lora, training
from kit.run.cpu_operations import attend_faster, masked_softmax


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
            assert attend_faster(model) == 2
        step = training.make_train_step(model)
        groups = (model.trainable_variables, model.non_trainable_variables, model.optimizer.variables)
        state = tuple([jnp.copy(variable.value) for variable in variables] for variables in groups)
        found = []
        for _ in range(4):
            state, loss = step(state, batch)
            found.append(float(loss))
        losses.append(found)
    assert losses[0][0] - losses[0][-1] > 0.01
    np.testing.assert_allclose(losses[1], losses[0], rtol=2e-6)
