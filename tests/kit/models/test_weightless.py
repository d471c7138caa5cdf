"""Gemma 7B and 2B at their true size, without weights."""

import resource
import time

import pytest

from kit.models.architectures import GEMMA_2B, GEMMA_7B
from kit.models.weightless import weightless_variables


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
