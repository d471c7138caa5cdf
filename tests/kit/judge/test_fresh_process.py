"""A check in a Python process of its own, as on an accelerator."""

from pathlib import Path
from typing import Any

import pytest

from kit.course.catalogue import catalogue
from kit.judge import fresh_process
from kit.judge.runner import Runner
from kit.runtime.platform import Platform


@pytest.mark.parametrize(
    ("platform", "layer", "expected"), [("gpu", "train", "highest"), ("gpu", "style", None), ("cpu", "train", None)]
)
def test_checks_ask_an_accelerator_for_float32(
    monkeypatch: pytest.MonkeyPatch, platform: Platform, layer: str, expected: str | None
) -> None:
    """A whole run keeps the accelerator's own precision."""
    requests: list[dict[str, Any]] = []

    def run(request: dict[str, Any], *rest: Any) -> dict[str, Any]:
        requests.append(request)
        return {"diagnosis": None}

    monkeypatch.setattr(fresh_process, "run", run)
    checks = [check for exercise in catalogue().everything for check in exercise.checks]
    check = next(check for check in checks if check.layer == layer)
    assert Runner(catalogue(), platform, fork=False).run("reference", check).passed
    assert [request.get("precision") for request in requests] == [expected]


def test_the_precision_is_set_in_that_process(tmp_path: Path) -> None:
    (tmp_path / "mesh.py").write_text("import jax\n\nraise ValueError(jax.config.jax_default_matmul_precision)\n")
    request = {"catalogue": catalogue().source, "impl": str(tmp_path)}
    request |= {"exercise": "mesh", "check": "shape", "limit": 60.0}
    for more, expected in (({"precision": "highest"}, "highest"), ({}, "None")):
        verdict = fresh_process.run(request | more, "cpu", 8)
        assert f"ValueError: {expected}" in str(verdict)
