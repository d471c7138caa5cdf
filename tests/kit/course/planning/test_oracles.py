"""The oracles of the exercise ``planning``, compared with what the TPU compiler measured."""

import json

import pytest

from kit.course.planning.all_reduce_bytes import COMPILED, COMPILED_TOKENS, activation_nbytes, compiled_activations
from kit.course.planning.argument_bytes import Configuration, expected_nbytes
from kit.course.planning.checks import TOLERANCE
from kit.course.shared import tpu_step
from kit.models.architectures import GEMMA_7B, gemma_config


def test_the_counted_bytes_on_a_device_are_those_of_the_compiler(devices: list[str]) -> None:
    config = gemma_config(**{**GEMMA_7B["config"], "num_layers": tpu_step.LAYERS})
    found = json.loads(tpu_step.GOLDEN_FILE.read_text())
    assert found
    for version, golden in found.items():
        for name, rank in tpu_step.RANKS.items():
            nbytes = expected_nbytes(Configuration("Gemma 7B", config, (1, 8), rank, "float32"))
            assert nbytes == pytest.approx(golden[name]["arguments"], rel=TOLERANCE), (version, name)


def test_each_block_adds_as_many_all_reduces() -> None:
    assert [compiled_activations(layers, 4) for layers in (1, 2, 3, 28)] == [5, 9, 13, 113]
    assert [compiled_activations(layers, 0) for layers in (1, 2, 3, 28)] == [6, 10, 14, 114]
    for (layers, rank), nbytes in COMPILED.items():
        expected = compiled_activations(layers, rank) * activation_nbytes(COMPILED_TOKENS)
        assert nbytes == pytest.approx(expected, rel=0.01)
