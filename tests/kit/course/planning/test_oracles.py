"""The closed forms of ``planning``, compared with Keras' variables and with compiled programs."""

import json

import pytest

from kit.course.planning.cases import ARGUMENTS, SENT, Case, with_layers
from kit.course.planning.mistakes import TOLERANCE
from kit.course.planning.oracles import argument_nbytes, cache_nbytes, sent_nbytes
from kit.course.shared import tensor_parallel, tpu_step
from kit.models.weightless import weightless_variables

#: (Mesh, decoder blocks, rank, batch size) -> bytes of the results of all-reduces over "model" and
#: over "batch" in a step of Gemma 7B in float32, 128 tokens per example, by libtpu 0.0.42.1: on a
#: v3-8, and where both axes have devices on a v5e-8.
COMPILED = {
    ((1, 8), 1, 4, 2): (15_740_928, 0),
    ((1, 8), 2, 4, 2): (28_332_032, 0),
    ((1, 8), 3, 4, 2): (40_923_136, 0),
    ((1, 8), 1, 0, 2): (18_878_464, 0),
    ((1, 8), 2, 0, 2): (31_461_376, 0),
    ((1, 8), 3, 0, 2): (44_044_288, 0),
    # One of the activations is reduced over all devices.
    ((2, 4), 1, 0, 8): (31_465_472 + 6_291_456, 1_849_724_940),
    ((2, 4), 2, 0, 8): (56_631_296 + 6_291_456, 2_126_573_580),
}


@pytest.mark.parametrize("case", ARGUMENTS, ids=str)
def test_the_bytes_on_a_device_are_those_of_keras_variables(case: Case, devices: list[str]) -> None:
    config = {**with_layers(1), "config": dict(case.sizes)}
    batch, model = case.mesh
    expected = 0
    for variable in weightless_variables(config, case.rank, dtype=case.dtype):
        parts = 1
        if tensor_parallel.kind_of(variable.path):
            parts = model * (batch if case.layout == "fsdp" else 1)
        expected += variable.nbytes // parts * (3 if variable.trainable else 1)
    assert argument_nbytes(case) == pytest.approx(expected, abs=64)


def test_the_bytes_on_a_device_are_those_of_the_compiler() -> None:
    found = json.loads(tpu_step.GOLDEN_FILE.read_text())
    assert found
    for version, golden in found.items():
        for name, rank in tpu_step.RANKS.items():
            case = Case("", with_layers(tpu_step.LAYERS)["config"], (1, 8), "float32", rank)
            assert argument_nbytes(case) == pytest.approx(golden[name]["arguments"], rel=TOLERANCE), (version, name)


@pytest.mark.parametrize("step", COMPILED, ids=str)
def test_what_is_sent_is_that_of_compiled_steps(step: tuple) -> None:
    mesh, layers, rank, batch_size = step
    case = Case("", with_layers(layers)["config"], mesh, "float32", rank, batch_size=batch_size, length=128)
    for axis, devices, nbytes in zip(("model", "batch"), reversed(mesh), COMPILED[step], strict=True):
        ring = 2 * (devices - 1) / devices
        assert sent_nbytes(case)[axis] == pytest.approx(nbytes * ring, rel=TOLERANCE)


def test_an_axis_of_one_device_sends_nothing() -> None:
    assert all(sent_nbytes(case)["batch"] == 0 for case in SENT if case.mesh[0] == 1)
    assert all(sent_nbytes(case)["model"] == 0 for case in SENT if case.mesh[1] == 1)


def test_the_cache_has_the_size_of_kerashubs(devices: list[str]) -> None:
    import jax

    from kit.course.shared import small_models

    small_models.set_distribution(1, 8)
    model = small_models.small_model(rank=0)
    _, cache = jax.eval_shape(model._build_cache, jax.ShapeDtypeStruct((2, 24), "int32"))
    case = Case("", tensor_parallel.SMALL_SIZES, (1, 1), "float32", batch_size=2, length=24)
    assert cache_nbytes(case) == cache.size * 4
