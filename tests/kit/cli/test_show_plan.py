"""The output of `kit plan` where the compiler has no estimate."""

from dataclasses import replace

import pytest
from tpu_plans import RIGHT, SMALL, needs_libtpu

from kit.cli.show_plan import show_plan
from kit.tpu.plan import make_plan
from kit.tpu.step import StepSettings
from kit.tpu.topologies import find_topology


@needs_libtpu
def test_without_an_estimate_and_quick(capsys: pytest.CaptureFixture[str]) -> None:
    plan = make_plan(SMALL, find_topology("v5e-8"), StepSettings((1, 8)), RIGHT, (1,), effort="quick")
    show_plan("small", plan, "reference")
    assert "tokens per second" in capsys.readouterr().out
    # The compiler's estimate of some large programs is negative.
    show_plan("small", replace(plan, compiler_seconds=None), "reference")
    text = " ".join(capsys.readouterr().out.split())
    assert "it has no estimate for this program" in text
    assert "Compiled quickly: temporaries and times are estimates" in text
