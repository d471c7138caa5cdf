"""A layout map as data: the map that is rebuilt from it behaves like the original."""

import re
from typing import Any

import keras
import pytest

from kit.checks.diagnosis import Failed
from kit.course.shared.layout_judgement import LayoutCall, LayoutMapSeen
from kit.course.shared.tensor_parallel import device_mesh, small_config
from kit.evidence.rule_coverage import rule_coverage
from kit.judge.observation import Returned, expect_plain
from kit.models.weightless import weightless_variables

RULES: dict[Any, tuple[str | None, ...]] = {
    "token_embedding/embeddings": ("model", None),
    # A compiled expression with flags, and a spec without its trailing Nones.
    re.compile(r"DECODER_.*/attention/(?!.*lora).*kernel", re.IGNORECASE): ("model",),
    # Too many entries.
    ".*/ffw_gating/kernel": (None, "model", None),
    ".*/ffw_gating_2/kernel": ("batch", "model"),
    # Overlaps with the rule before it, and matches nothing.
    ".*gating_2/kernel": (None, None),
    "nothing": ("model",),
}


def layout_map(mesh: Any) -> Any:
    made = keras.distribution.LayoutMap(mesh)
    for pattern, spec in RULES.items():
        made[pattern] = spec
    return made


@pytest.mark.parametrize("shape", [(1, 8), (2, 4)])
def test_a_rebuilt_map_matches_the_same_variables(devices: list[str], shape: tuple[int, int]) -> None:
    mesh = device_mesh(*shape)
    original = layout_map(mesh)
    seen = LayoutMapSeen.of(original, mesh)
    expect_plain(seen)
    assert seen.has_given_mesh
    rebuilt = seen.rebuilt(device_mesh(*shape))
    assert list(rebuilt) == list(RULES)
    assert [layout.axes for layout in rebuilt.values()] == list(RULES.values())
    variables = weightless_variables(small_config(), rank=4)
    expected = rule_coverage(original, variables)
    assert expected.overlaps
    assert expected.misfits
    assert rule_coverage(rebuilt, variables) == expected


def test_a_rule_keeps_its_own_mesh(devices: list[str]) -> None:
    mesh, other = device_mesh(1, 8), device_mesh(4, 2)
    original = keras.distribution.LayoutMap(mesh)
    original["up"] = keras.distribution.TensorLayout(("model", None), other)
    rebuilt = LayoutMapSeen.of(original, mesh).rebuilt(mesh)
    assert tuple(rebuilt["up"].device_mesh.shape) == (4, 2)
    assert list(rebuilt["up"].device_mesh.devices.flatten()) == devices
    assert rebuilt["up"].backend_layout == original["up"].backend_layout


def test_a_map_over_another_mesh_is_refused(devices: list[str]) -> None:
    given = device_mesh(1, 8)
    call = LayoutCall(1, 8, Returned(LayoutMapSeen.of(layout_map(device_mesh(1, 8)), given)))
    with pytest.raises(Failed, match="does not use the mesh that was given"):
        call.layout_map(call.mesh)
