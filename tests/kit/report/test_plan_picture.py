"""Pictures of plans."""

import re
from dataclasses import replace
from pathlib import Path

from tpu_plans import RIGHT, SMALL, needs_libtpu

from kit.report.plan_picture import draw
from kit.tpu.plan import make_plan
from kit.tpu.plan_json import as_json
from kit.tpu.step import StepSettings
from kit.tpu.topologies import find_topology


def texts(file: Path) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>|<tspan[^>]*>([^<]*)</tspan>", file.read_text())


@needs_libtpu
def test_no_picture_answers_for_all_blocks_by_few(tmp_path: Path) -> None:
    file, settings = tmp_path / "plan.svg", StepSettings((1, 8))
    few = make_plan(SMALL, find_topology("v5e-8"), settings, RIGHT, (2,), effort="quick")
    draw(few, "small", file)
    # Each is a text, and no outline of glyphs.
    shown = " ".join(part for pair in texts(file) for part in pair)
    assert "small on v5e-8: 2 of 4 blocks: not an answer" in shown
    assert "held by 2 of 4 blocks" in shown
    assert "usable: 16.91 GB" in shown
    assert "fit" not in shown
    assert as_json(few)["fits"] is None
    # Too much for 2 blocks is too much for 4.
    too_much = replace(few, fits=False)
    assert too_much.answer == "it does not fit, and this is only 2 of 4 blocks"
    assert as_json(too_much)["fits"] is False


@needs_libtpu
def test_extrapolated_is_an_estimate(tmp_path: Path) -> None:
    file, settings = tmp_path / "plan.svg", StepSettings((1, 8))
    plan = make_plan(SMALL, find_topology("v5e-8"), settings, RIGHT, (1, 2), effort="quick")
    draw(plan, "small", file)
    shown = " ".join(part for pair in texts(file) for part in pair)
    assert "it fits (estimate from 1 and 2 of 4 blocks)" in shown
    assert as_json(plan)["fits"] is True
    assert as_json(plan)["layers"]["extrapolated"]
