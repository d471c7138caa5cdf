"""What an edit of the layout costs, as `kit watch` prints it."""

from pathlib import Path

import pytest
from exercise_folder import reference_source

from kit.course import prices
from kit.course.catalogue import catalogue
from kit.course.prices import Prices, describe
from kit.judge.catalogue import Check, available
from kit.judge.runner import Runner


def test_sentences() -> None:
    template = "{nbytes} held{change}; {count} collectives"
    now = {"nbytes": 11.69e9, "count": 13.0}
    assert describe(template, now, None) == "11.69 GB held; 13 collectives"
    assert describe(template, now, {"nbytes": 4.29e9}) == "11.69 GB held (+7.40 GB); 13 collectives"
    assert describe(template, now, {"nbytes": 12.69e9}) == "11.69 GB held (-1.00 GB); 13 collectives"
    assert describe(template, now, now) == "11.69 GB held (unchanged); 13 collectives"


def test_a_missed_rule_costs_memory_and_no_collective(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        prices, "available", lambda checks: [check for check in available(checks) if check.layer != "tpu_compile"]
    )
    source = reference_source("layout")
    file = tmp_path / "layout.py"
    with Runner(catalogue()) as runner:
        measured = Prices(runner, str(tmp_path))
        file.write_text(source)
        weights, collectives = measured.lines("layout")
        assert weights == "Gemma 7B on a v5e-8: 4.27 GB of weights per core; 4.27 GB is enough"
        assert "two of its blocks, compiled for 8 simulated devices: 13 collectives" in collectives
        file.write_text(source.replace("ffw_gating(_2)?", "ffw_gating"))
        weights, collectives = measured.lines("layout")
        assert weights == "Gemma 7B on a v5e-8: 11.67 GB of weights per core (+7.40 GB); 4.27 GB is enough"
        # Nothing is printed about a layout that cannot be used.
        file.write_text("def gemma_layout_map(device_mesh):\n    return undefined\n")
        assert list(measured.lines("layout")) == []


def test_prices_are_no_checks() -> None:
    exercise = catalogue().find("layout")
    names = [check.name for check in exercise.price_checks]
    assert names == ["weights", "collectives", "step"]
    assert not {check.name for check in exercise.checks} & set(names)
    found: Check = catalogue().find_check("layout", "weights")
    assert found in exercise.price_checks
