"""Collectives, traced to layers and rules."""

from typing import Any

import jax
import pytest
from tpu_plans import SMALL, turned, with_layout

from kit.evidence.attribution import BATCH_RULE, attribute, causes
from kit.tpu.step import LoweredStep, StepSettings, lower_step


def traced(step: LoweredStep, text: str) -> tuple[Any, ...]:
    return attribute(
        text,
        [[slot.variable for slot in group] for group in step.slots],
        [(rule.pattern, rule.spec, rule.paths) for rule in step.coverage.rules],
        [],
        step.axes,
    )


class TestAttribution:
    @pytest.mark.parametrize("mesh", [(1, 8), (2, 4)])
    @pytest.mark.parametrize("change", [lambda layout_map: None, turned])
    def test_every_byte_has_a_layer_and_a_rule(self, mesh: tuple[int, int], change: Any) -> None:
        step = lower_step(SMALL, StepSettings(mesh), with_layout(change), jax.devices(), None)
        found = traced(step, step.lowered.compile().as_text())
        nbytes = sum(one.nbytes for one in found)
        known = sum(one.nbytes for one in found if one.layer and one.rule)
        assert nbytes > 100_000
        assert known >= 0.95 * nbytes
        assert any(one.rule == BATCH_RULE for one in found) == (mesh == (2, 4))

    def test_a_rule_has_the_collectives_that_it_causes(self) -> None:
        found = []
        for change in (lambda layout_map: None, turned):
            step = lower_step(SMALL, StepSettings((1, 8)), with_layout(change), jax.devices(), None)
            all_causes = causes(traced(step, step.lowered.compile().as_text()))
            found.append({(c.layer_kind, c.kind): c for c in all_causes if "ffw_linear" in str(c.rule)})
        right, wrong = found
        forward = right["decoder_block_N/ffw_linear", "all-reduce"]
        # One for each of the four blocks: 2 x 128 x 40 float32 numbers.
        assert (forward.count, forward.nbytes) == (4, 4 * 2 * 128 * 40 * 4)
        assert str(forward.rule) == "rule 4, .*/ffw_linear/kernel"
        assert sum(c.nbytes for c in wrong.values()) > sum(c.nbytes for c in right.values())

    def test_a_collective_that_cannot_be_traced(self) -> None:
        text = "  %x = f32[4]{0} parameter(0)\n  %y = f32[4]{0} all-reduce(%x), replica_groups={{0,1}}\n"
        (found,) = attribute(text, [[]], [("a.*", ("model",), ["a/kernel"])], [], {"batch": 1, "model": 2})
        assert (found.layer, found.rule, found.axes) == (None, None, ("model",))
