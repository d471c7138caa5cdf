"""The checks of the exercise ``layout``."""

import dataclasses

from kit.checks.codes import COMMON_CODES
from kit.checks.diagnosis import Failed
from kit.course.layout import prices
from kit.course.shared import layout_judgement
from kit.course.shared import tensor_parallel as oracle
from kit.course.shared.layout_faults import Layout
from kit.course.shared.meshes import mesh_shapes
from kit.evidence.rule_coverage import LayoutError
from kit.formatting import format_bytes
from kit.judge.submission import Submission
from kit.models.architectures import GEMMA_7B
from kit.tpu.topologies import find_topology

FUNCTION = "gemma_layout_map"
RULES_REMEDY = COMMON_CODES["LAYOUT_RULE_MATCHES_NOTHING"].remedy


def observe_layout_maps_of_all_meshes(submission: Submission) -> list[layout_judgement.LayoutCall]:
    """The layout map for each mesh."""
    return layout_judgement.observe_layout_maps(submission, FUNCTION)


# Four checks judge the same observation.
observe_small_model = observe_layout_maps_of_all_meshes
observe_gemma_7b = observe_layout_maps_of_all_meshes
observe_adapters = observe_layout_maps_of_all_meshes
observe_collective_bytes = observe_layout_maps_of_all_meshes
judge_collective_bytes = layout_judgement.judge_collectives


def judge_small_model(calls: list[layout_judgement.LayoutCall]) -> None:
    """The sharding of a small Gemma is that of tensor parallelism."""
    layout_judgement.judge_layout(calls, "a small Gemma of 2 layers", oracle.small_config(), rank=0)


def judge_gemma_7b(calls: list[layout_judgement.LayoutCall]) -> None:
    """The sharding of Gemma 7B is that of tensor parallelism."""
    layout_judgement.judge_layout(_over_all_devices(calls), "Gemma 7B", GEMMA_7B, rank=0)


def judge_adapters(calls: list[layout_judgement.LayoutCall]) -> None:
    """The rules also fit a model with LoRA."""
    layout_judgement.judge_layout(_over_all_devices(calls), "a small Gemma with LoRA", oracle.small_config(), rank=4)


def _over_all_devices(calls: list[layout_judgement.LayoutCall]) -> list[layout_judgement.LayoutCall]:
    """Without the mesh of half of the devices, which the small model is enough for."""
    return [call for call in calls if (call.batch, call.model) in mesh_shapes()]


def observe_v3_8(submission: Submission) -> layout_judgement.LayoutCall:
    """The layout map for the mesh of a TPU v3-8."""
    from kit.course.shared import tpu_step

    return layout_judgement.observe_layout_map(submission, FUNCTION, 1, find_topology(tpu_step.TOPOLOGY).devices)


def judge_v3_8(call: layout_judgement.LayoutCall) -> None:
    """By the TPU compiler, the step of Gemma 7B fits, with no more bytes than necessary."""
    from kit.course.shared import tpu_step

    parts = dataclasses.replace(tpu_step.right_parts(), make_layout_map=call.layout_map)
    try:
        plan = tpu_step.plan(parts, rank=4)
    except LayoutError as error:
        raise Failed(
            "NOT_AS_EXPECTED", "Keras refuses this layout for Gemma 7B.", ("found",), [(error,)], str(error)
        ) from None
    right = tpu_step.golden(4)
    # The compiler has a step of few blocks. Where bytes are is judged on all of them.
    layout = Layout.of(call.layout_map(call.mesh), "Gemma 7B", GEMMA_7B, rank=4)
    needed = tpu_step.nbytes_with_all_blocks(parts, plan)
    if not plan.fits or needed > plan.usable:
        cause = f"Gemma 7B needs {format_bytes(needed)} on each core of a v3-8, which has {format_bytes(plan.usable)}."
        raise _too_many_bytes(layout, "LAYOUT_DOES_NOT_FIT", cause)
    replicated = sum(one.held - one.needed for one in layout.deviations if one.replicated)
    if plan.arguments > 1.01 * right.arguments or replicated:
        cause = (
            f"Each core of a v3-8 needs {format_bytes(needed)} for Gemma 7B: the step fits, but "
            f"{format_bytes(needed - replicated)} would be enough."
        )
        raise _too_many_bytes(layout, "LAYOUT_MATRIX_REPLICATED", cause)
    sent, least = sum(tpu_step.sent_by_layer(plan).values()), sum(right.sent.values())
    if sent > 1.01 * least:
        cause = (
            f"On a v3-8 a step of {plan.layers} blocks sends {format_bytes(sent)}, but {format_bytes(least)} is enough."
        )
        total = ("all collectives", format_bytes(sent), format_bytes(least))
        raise layout_judgement.extra_collectives(cause, layout.deviations, [total])


def _too_many_bytes(layout: Layout, code: str, cause: str) -> Failed:
    """The diagnosis of a layout that holds too much: what is replicated, and why."""
    replicated = [one for one in layout.deviations if one.replicated]
    rows = [
        (one.shown, one.rule, format_bytes(one.held), format_bytes(one.needed))
        for one in [*replicated, *(one for one in layout.deviations if one not in replicated)][:8]
    ]
    headings = ("on each core", "rule", "yours", "needed")
    if replicated:
        _, why, remedy = layout_judgement.why_replicated(layout, replicated)
        return Failed(code, f"{cause} {why}", headings, rows, remedy or RULES_REMEDY)
    weights = format_bytes(layout.coverage.nbytes_per_device)
    cause += f" Its weights take {weights} of that, as they should; the rest is gradients, moments and temporaries."
    return Failed(code, cause, headings, rows, "Shard the matrices along the dimensions that the lesson derives.")


def observe_prices(submission: Submission) -> layout_judgement.LayoutCall:
    """The layout map for the mesh of a v5e-8."""
    return layout_judgement.observe_layout_map(submission, FUNCTION, 1, find_topology(prices.TOPOLOGY).devices)


observe_weights = observe_collectives = observe_step = observe_prices
judge_weights = prices.price_of_weights
judge_collectives = prices.price_of_collectives
judge_step = prices.price_of_step
