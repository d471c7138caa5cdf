"""What a layout costs at the size of Gemma 7B, for `kit watch`. It judges nothing."""

from kit.checks.diagnosis import Failed
from kit.course.shared import tensor_parallel as oracle
from kit.course.shared.layout_judgement import LayoutCall
from kit.evidence.program import collectives, compile_gradients
from kit.evidence.rule_coverage import check_coverage, rule_coverage
from kit.models.architectures import GEMMA_7B
from kit.models.weightless import build_language_model, no_weights, weightless_variables

TOPOLOGY = "v5e-8"
#: Decoder blocks of the program that is compiled on the CPU.
BLOCKS = 2


def price_of_weights(call: LayoutCall) -> dict[str, float]:
    """Bytes of the weights on one core, and the bytes that tensor parallelism needs."""
    variables = weightless_variables(GEMMA_7B)
    coverage = rule_coverage(call.layout_map(call.mesh), variables)
    check_coverage(coverage, (call.batch, call.model))
    needed = oracle.tensor_parallel_map(call.mesh, oracle.split_paths(GEMMA_7B["config"]["num_layers"]))
    return {
        "nbytes": coverage.nbytes_per_device,
        "nbytes_needed": rule_coverage(needed, variables).nbytes_per_device,
    }


def price_of_collectives(call: LayoutCall) -> dict[str, float]:
    """Collectives of the gradients of a model of two blocks, compiled on the CPU."""
    distribution = oracle.model_parallel(call.layout_map(call.mesh))
    with no_weights():
        model = build_language_model(GEMMA_7B, num_layers=BLOCKS)
        model.backbone.enable_lora(4, target_layer_names=["query", "value"])
        with distribution.scope():
            text = compile_gradients(model, distribution, batch_size=2, sequence_length=128).as_text() or ""
    found = collectives(text)
    return {"count": len(found.operations), "nbytes": found.nbytes}


def price_of_step(call: LayoutCall) -> dict[str, float]:
    """The peak memory of a step by the TPU compiler, extrapolated from few blocks."""
    import dataclasses

    from kit.course.shared import tpu_step
    from kit.tpu.plan import make_plan
    from kit.tpu.step import StepSettings
    from kit.tpu.topologies import find_topology

    topology = find_topology(TOPOLOGY)
    parts = dataclasses.replace(tpu_step.right_parts(), make_layout_map=call.layout_map)
    plan = make_plan(GEMMA_7B, topology, StepSettings((1, topology.devices)), parts, (2, 4), effort="quick")
    if not (plan.fits or plan.is_extrapolated):
        raise Failed("LAYOUT_DOES_NOT_FIT", f"{plan.layers} of {plan.preset_layers} blocks do not fit.")
    return {"nbytes": plan.peak, "nbytes_usable": plan.usable}
