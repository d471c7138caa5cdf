"""Where two plans differ."""

import keras
from tpu_plans import SMALL, needs_libtpu, with_layout

from kit.tpu.comparison import compare
from kit.tpu.plan import make_plan
from kit.tpu.step import StepSettings
from kit.tpu.topologies import find_topology

pytestmark = needs_libtpu


def test_a_rule_makes_the_difference() -> None:
    topology, settings = find_topology("v3-8"), StepSettings((1, 8))

    def missed(layout_map: keras.distribution.LayoutMap) -> None:
        del layout_map[".*/ffw_gating(_2)?/kernel"]
        layout_map[".*/ffw_gating/kernel"] = (None, "model")

    plans = [
        make_plan(SMALL, topology, settings, with_layout(change), (2,)) for change in (lambda layout_map: None, missed)
    ]
    first = compare(*plans)[0]
    assert first.layer_kind == "decoder_block_N/ffw_gating_2"
    assert first.rules[1] == "no rule"
    # Two blocks of 40 x 56 float32 numbers, replicated instead of sharded over 8 devices.
    assert first.held[1] - first.held[0] == 2 * 40 * 56 * 4 * 7 // 8
    assert plans[1].arguments > plans[0].arguments
    assert compare(plans[0], plans[0]) == ()
