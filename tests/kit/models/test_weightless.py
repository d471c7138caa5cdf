"""Gemma 7B and 2B at their true size, without weights."""

import resource
import time

import pytest
import tiny_presets

from kit.models.architectures import GEMMA_2B, GEMMA_7B, gemma3_config, gemma4_config, gemma_config
from kit.models.weightless import build_language_model, weightless_variables


def trainable_and_total(variables: list) -> tuple[int, int]:
    return sum(v.size for v in variables if v.trainable), sum(v.size for v in variables)


@pytest.mark.params
def test_gemma_7b_with_lora_of_rank_4(devices: list[str]) -> None:
    import keras_hub

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    plain = weightless_variables(GEMMA_7B)
    started = time.perf_counter()
    tuned = weightless_variables(GEMMA_7B, rank=4)
    seconds = time.perf_counter() - started
    assert trainable_and_total(plain) == (8_537_680_896, 8_537_680_896)
    assert trainable_and_total(tuned) == (11_067_392, 8_548_748_288)
    # KerasHub's own count.
    assert keras_hub.models.GemmaCausalLM.presets["gemma_7b_en"]["metadata"]["params"] == 8_537_680_896
    # 1 GB (in kilobytes) for both; the weights of one would take 34 GB. Measured: 0.6 s.
    assert seconds < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1e6


@pytest.mark.params
def test_gemma_2b(devices: list[str]) -> None:
    assert trainable_and_total(weightless_variables(GEMMA_2B)) == (2_506_172_416, 2_506_172_416)
    assert trainable_and_total(weightless_variables(GEMMA_2B, rank=4))[0] == 1_363_968


def test_nothing_is_left_waiting_for_a_value(devices: list[str]) -> None:
    import keras
    from keras.src.backend.common import global_state

    # After another model, Keras already has its list of variables without values.
    keras.layers.Dense(2).build((None, 3))
    weightless_variables(GEMMA_2B)
    assert not global_state.get_global_attribute("uninitialized_variables")
    # The end of another scope initializes none of them.
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with keras.StatelessScope():
        pass
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1e6


@pytest.mark.parametrize(("dtype", "nbytes"), [("float32", 4), ("bfloat16", 2)])
def test_bytes_follow_the_dtype(devices: list[str], dtype: str, nbytes: int) -> None:
    variables = weightless_variables(GEMMA_2B, dtype=dtype)
    assert {variable.dtype for variable in variables} == {dtype}
    assert sum(variable.nbytes for variable in variables) == 2_506_172_416 * nbytes


@pytest.mark.parametrize("family", tiny_presets.SIZES)
def test_the_language_model_has_the_logits_of_kerashub(devices: list[str], family: str) -> None:
    """Soft caps, positions, per-layer inputs and experts are those of the family's CausalLM."""
    import keras_hub
    import numpy as np

    make = {"gemma3": gemma3_config, "gemma4": gemma4_config}.get(family.partition("_")[0], gemma_config)
    config = make(**{"vocabulary_size": tiny_presets.VOCABULARY_SIZE, **tiny_presets.SIZES[family]})
    model = build_language_model(config)
    random = np.random.default_rng(0)
    for variable in model.variables:
        shape = tuple(variable.shape)
        variable.assign(
            random.normal(1 if len(shape) < 2 else 0, 1 / np.sqrt(shape[-2] if len(shape) > 1 else 9), shape)
        )
    name = type(model.backbone).__name__.replace("Backbone", "CausalLM")
    theirs = getattr(keras_hub.models, name)(backbone=model.backbone, preprocessor=None)
    inputs = {
        "token_ids": random.integers(0, tiny_presets.VOCABULARY_SIZE, (2, 24)),
        "padding_mask": np.arange(24) < np.array([[24], [17]]),
        "position_ids": np.tile(np.arange(24), (2, 1)),
    }
    mine = {name: inputs[name] for name in model.backbone.input}
    found, expected = (np.asarray(one(mine)) for one in (model, theirs))
    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
