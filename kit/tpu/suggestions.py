"""What to try if a step does not fit on a TPU."""

from kit.formatting import format_bytes
from kit.tpu.plan import Plan


def suggestions(plan: Plan) -> list[str]:
    """What to try, by what the plan says about memory; the most likely first."""
    found = []
    large = any(variable.nbytes > 0.01 * plan.coverage.nbytes for variable in plan.coverage.replicated)
    several = plan.topology.devices > 1
    if several and (large or plan.coverage.nbytes_replicated > 0.01 * plan.coverage.nbytes):
        found.append(
            f"a layout that shards every matrix: {len(plan.coverage.replicated)} variables, "
            f"{format_bytes(plan.coverage.nbytes_replicated)}, are replicated"
        )
    if plan.settings.rank == 0:
        moments = sum(nbytes for kind, _, nbytes in plan.held if kind.startswith("optimizer"))
        found.append(
            f"{'LoRA' if plan.own else 'LoRA (`--rank 4`)'}: the optimizer state takes {format_bytes(moments)}"
        )
    if plan.settings.dtype == "float32":
        option = "" if plan.own else " (`--dtype bfloat16`)"
        found.append(f"bfloat16 weights{option}, which take half the bytes")
    if not plan.settings.remat and plan.temporaries > 0.1 * plan.usable:
        option = "recomputed activations (`keras.RematScope`)" if plan.own else "`--remat`"
        found.append(f"{option}: the temporaries take {format_bytes(plan.temporaries)}")
    if plan.compiled_layers and plan.settings.batch_size > plan.settings.mesh[0]:
        batch = "a smaller `--batch`" if plan.own else "a smaller `--batch-size`, or a shorter `--sequence-length`"
        found.append(batch)
    found.append("a topology with more HBM")
    return found
