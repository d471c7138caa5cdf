"""Plans of few and of all decoder blocks, with other settings, and of a step that does not fit."""

import keras
import pytest
from tpu_plans import RIGHT, SMALL, needs_libtpu

from kit.models.architectures import GEMMA_7B
from kit.tpu.plan import make_plan
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
