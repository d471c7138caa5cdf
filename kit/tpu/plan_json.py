"""Plans as JSON, for `kit plan --json`."""

from dataclasses import asdict
from typing import Any

from kit.evidence.attribution import Cause, Rule
from kit.tpu.plan import Plan


def as_json(plan: Plan) -> dict[str, Any]:
    """The content of a plan for JSON."""
    return {
        # null: so few decoder blocks do not say whether the preset fits.
        "fits": plan.preset_fits,
        "answer": plan.answer,
        "per_device": {
            "arguments_bytes": plan.arguments,
            "temporary_bytes": plan.temporaries,
            "peak_bytes": plan.peak,
            "usable_bytes": plan.usable,
            "flops": plan.flops,
            "bytes_accessed": plan.bytes_accessed,
        },
        "collectives": {kind: {"count": count, "bytes": nbytes} for kind, (count, nbytes) in plan.by_kind().items()},
        "flops": plan.flops * plan.topology.devices if plan.flops is not None else None,
        "flops_per_parameter_and_token": plan.flops_per_parameter_and_token,
        "estimated_seconds": plan.compiler_seconds,
        "tokens_per_second": plan.tokens_per_second,
        "roofline_seconds": plan.roofline and asdict(plan.roofline),
        "parameters": {"trainable": plan.trainable, "total": plan.parameters},
        "effort": "quick" if plan.quick else "full",
        "layers": {
            "planned": plan.layers,
            "compiled": list(plan.compiled_layers),
            "preset": plan.preset_layers,
            "extrapolated": plan.is_extrapolated,
        },
        "causes": [_cause_as_json(cause) for cause in plan.causes or ()],
        "attributed_share": plan.attributed_share,
        "held": [{"variable": kind, "rule": rule or None, "bytes": nbytes} for kind, rule, nbytes in plan.held],
        "topology": plan.topology.name,
        "mesh": dict(plan.axes),
        "settings": {name: value for name, value in vars(plan.settings).items() if name != "mesh"},
    }


def _cause_as_json(cause: Cause) -> dict[str, Any]:
    rule: Any = cause.rule
    if isinstance(rule, Rule):
        rule = {"number": rule.number, "pattern": rule.pattern, "spec": list(rule.spec)}
    named = {"rule": rule, "layer": cause.layer_kind, "kind": cause.kind}
    return named | {"count": cause.count, "bytes": cause.nbytes}
