"""Plans of few and of all decoder blocks, with other settings, and of a step that does not fit."""

from typing import Any

import keras
import pytest
from tpu_plans import RIGHT, SMALL, needs_libtpu

from kit.models.architectures import GEMMA_7B, gemma4_config
from kit.models.blocks import lora_parameters
from kit.models.known_layouts import find_layout
from kit.tpu.plan import make_plan, time_on_line
from kit.tpu.plan_json import as_json
from kit.tpu.step import StepParts, StepSettings
from kit.tpu.suggestions import suggestions
from kit.tpu.topologies import find_topology

pytestmark = needs_libtpu


def test_few_blocks_are_extrapolated_to_all() -> None:
    topology, settings = find_topology("v3-8"), StepSettings((1, 8))
    whole = make_plan(SMALL, topology, settings, RIGHT)
    few = make_plan(SMALL, topology, settings, RIGHT, (2, 3))
    assert few.layers == whole.layers == 4
    assert few.arguments == pytest.approx(whole.arguments, rel=0.01)
    assert few.flops == pytest.approx(whole.flops, rel=0.01)
    assert few.by_kind() == whole.by_kind()
    assert whole.attributed_share >= 0.95
    # 4 for each block, of which the first needs one less in the backward pass; and those of
    # embeddings and loss.
    assert abs(whole.by_kind()["all-reduce"][0] - (4 * 4 + 3)) <= 4


def test_a_line_through_times_gives_no_time_below_0() -> None:
    def line(before: float, after: float) -> float:
        return before + (after - before) * 12

    assert time_on_line((0.02, 0.03), line) == pytest.approx(0.14)
    assert time_on_line((0.03, 0.02), line) is None
    assert time_on_line((None, 0.02), line) is None
    assert time_on_line((0.02, None), line) is None


@pytest.mark.parametrize("kinds", [pytest.param("experts", marks=pytest.mark.long), "shared keys"])
def test_gemma_4(kinds: str) -> None:
    """A plan of few blocks of each kind, with the layout that fits."""
    sizes = {"num_query_heads": 8, "num_key_value_heads": 4, "hidden_dim": 40, "intermediate_dim": 112, "head_dim": 12}
    more: dict[str, Any]
    if kinds == "experts":
        experts = {"enable_moe_block": True, "num_experts": 16, "expert_intermediate_dim": 24}
        more = {"num_layers": 6, "period": 2, **experts, "num_experts_per_token": 2, "num_global_key_value_heads": 2}
    else:
        more = {"num_layers": 4, "period": 2, "num_kv_shared_layers": 2, "hidden_size_per_layer_input": 16}
    config = gemma4_config(**{"vocabulary_size": 2048, **sizes, **more, "global_head_dim": 24})
    found = find_layout(config, (1, 8))
    assert found is not None
    parts = StepParts(found.make, RIGHT.enable_lora, RIGHT.compile_for_finetuning)
    topology, settings = find_topology("v5e-8"), StepSettings((1, 8))
    whole = make_plan(config, topology, settings, parts)
    assert whole.trainable == lora_parameters(config, 4)
    # Gemma 4 multiplies by the kernels of its feed-forward outside their layers.
    assert whole.attributed_share >= 0.7
    if kinds == "experts":
        few = make_plan(config, topology, settings, parts, (2, 4))
        assert few.arguments == pytest.approx(whole.arguments, rel=0.01)
        assert few.flops == pytest.approx(whole.flops, rel=0.02)
        assert few.by_kind().keys() == whole.by_kind().keys()
        sent = [sum(nbytes for _, nbytes in plan.by_kind().values()) for plan in (few, whole)]
        assert sent[0] == pytest.approx(sent[1], rel=0.02)


def test_what_does_not_fit() -> None:
    topology = find_topology("v2-8")
    nothing = StepParts(keras.distribution.LayoutMap, RIGHT.enable_lora, RIGHT.compile_for_finetuning)
    plan = make_plan(GEMMA_7B, topology, StepSettings((1, 8), rank=0), nothing, (2,))
    assert not plan.fits
    assert plan.peak > plan.usable
    assert plan.causes is None
    found = suggestions(plan)
    assert found[0].startswith("a layout that shards every matrix: 20 variables")
    assert any("LoRA" in line for line in found)
    content = as_json(plan)
    assert content["flops"] is None
    assert content["collectives"] == {}


def test_other_settings() -> None:
    topology = find_topology("v3-8")
    plain, half = (
        make_plan(SMALL, topology, StepSettings((1, 8), rank=0, dtype=dtype), RIGHT)
        for dtype in ("float32", "bfloat16")
    )
    # Weights and moments, all but a few numbers. Adapters are float32 whatever the model is.
    assert half.counted_arguments == pytest.approx(plain.counted_arguments / 2, rel=0.001)
    # A small model's activations fit into the core, and are no temporaries in HBM.
    plain, remat = (
        make_plan(GEMMA_7B, topology, StepSettings((1, 8), batch_size=8, remat=remat), RIGHT, (2,))
        for remat in (False, True)
    )
    assert remat.temporaries < 0.9 * plain.temporaries
    assert remat.flops > 1.1 * plain.flops
