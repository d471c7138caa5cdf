"""The output of ``kit plan`` on a terminal."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kit.cli.console import ConsoleNarrator
from kit.evidence.attribution import Rule
from kit.formatting import format_bytes, format_count, format_tuple

if TYPE_CHECKING:
    from kit.tpu.comparison import Difference
    from kit.tpu.plan import Plan

SHOWN_CAUSES = 14
SHOWN_HELD = 8
SHOWN_DIFFERENCES = 8


def show_plan(preset: str, plan: "Plan", source: str) -> None:
    """Print a plan, the answer first. ``source`` says whose layout it is, as "Parts: reference"."""
    narrator = ConsoleNarrator()
    narrator.step(f"{preset} on {plan.topology.name}: {plan.answer}")
    narrator.say(_settings(plan, source))
    _show_memory(narrator, plan)
    _show_layout(narrator, plan)
    if plan.causes is None:
        why = "the compiler made no program" if plan.compiled_layers else "the arguments alone do not fit"
        narrator.step(f"No collectives and no times: {why}")
        if not plan.own:
            narrator.say("`--layers 2,4` compiles few blocks, which may fit, and extrapolates.")
        return
    _show_collectives(narrator, plan)
    _show_time(narrator, plan)


def _settings(plan: "Plan", source: str) -> str:
    settings = plan.settings
    tuned = f"LoRA of rank {settings.rank}" if settings.rank else "all parameters"
    mesh = "x".join(map(str, settings.mesh))
    if [*plan.axes] != ["batch", "model"]:
        mesh = " x ".join(f"{axis} {size}" for axis, size in plan.axes.items())
    size = f"{settings.batch_size} x {settings.sequence_length} tokens"
    if plan.own and settings.sequence_length == 1:
        size = f"of {settings.batch_size} examples"
    blocks = f", {_blocks(plan)} decoder blocks"
    if plan.own:
        blocks = f", {plan.layers} repeated blocks" if plan.layers else ""
    return (
        f"{source}. Mesh {mesh}. Trained: {tuned} "
        f"({format_count(plan.trainable)} of "
        f"{format_count(plan.parameters)}). {settings.dtype}, batch {size}"
        f"{blocks}{', activations recomputed' if settings.remat else ''}."
    )


def _show_memory(narrator: ConsoleNarrator, plan: "Plan") -> None:
    rows = [
        ("arguments", format_bytes(plan.arguments), "weights, adapters, optimizer state and the batch"),
        ("temporaries", format_bytes(plan.temporaries), "activations, gradients and buffers of collectives"),
        ("peak", format_bytes(plan.peak), "with the code, and results that do not reuse an argument's memory"),
        ("usable", format_bytes(plan.usable), "HBM that the compiler gives to a program"),
    ]
    if not plan.compiled_layers:
        del rows[1:3]
    narrator.table(("on one device", "", ""), rows)
    if plan.quick:
        narrator.say(
            "Compiled quickly: temporaries and times are estimates, and arguments are exact. `--effort full` compiles "
            "the program of `fit`."
        )
    if plan.preset_fits is None:
        narrator.say(f"All {plan.preset_layers} blocks need more: `--layers all` says whether they fit.")
    if not plan.fits:
        from kit.tpu.suggestions import suggestions

        narrator.say("Try:")
        for suggestion in suggestions(plan):
            narrator.say(f"- {suggestion}")
    if len(plan.compiled_layers) < 2 or plan.causes is None:
        return
    apart = abs(plan.arguments - plan.counted_arguments) / plan.counted_arguments
    narrator.say(
        f"Compiled with {' and '.join(map(str, plan.compiled_layers))} decoder blocks, and extrapolated linearly to "
        f"{plan.layers}. This gives {format_bytes(plan.arguments)} of arguments; the shapes of all blocks give "
        f"{format_bytes(plan.counted_arguments)}, a difference of {apart:.2%} (the compiler pads)."
    )
    if not plan.settings.rank:
        narrator.say(
            "If all parameters are trained, temporaries are not linear: a compiler that is short of memory finds ways "
            "to use less. `--layers all` says whether it fits."
        )


def _show_layout(narrator: ConsoleNarrator, plan: "Plan") -> None:
    narrator.step("Rules of the layout map")
    rules = enumerate(plan.coverage.rules, 1)
    rows = [(str(number), rule.pattern, format_tuple(rule.spec), str(len(rule.paths))) for number, rule in rules]
    narrator.table(("rule", "pattern", "spec", "variables"), rows)
    narrator.step("Memory of one device by variable")
    held, rest = plan.held[:SHOWN_HELD], plan.held[SHOWN_HELD:]
    by_kind = [(kind, rule.partition(",")[0] or "no rule", format_bytes(nbytes)) for kind, rule, nbytes in held]
    narrator.table(("variables", "sharded by", ""), by_kind)
    if rest:
        narrator.say(f"and {format_bytes(sum(nbytes for *_, nbytes in rest))} of smaller variables")


def _show_collectives(narrator: ConsoleNarrator, plan: "Plan") -> None:
    narrator.step("Collectives per step")
    counted = [(kind, str(count), format_bytes(nbytes)) for kind, (count, nbytes) in plan.by_kind().items()]
    narrator.table(("collective", "how many", "bytes of results"), counted)
    narrator.step("Collectives by the rule that causes them")
    causes = plan.causes or ()
    rows = [
        (_rule(cause.rule), cause.layer_kind or "not traced", cause.kind, str(cause.count), format_bytes(cause.nbytes))
        for cause in causes[:SHOWN_CAUSES]
    ]
    narrator.table(("rule", "layer", "collective", "how many", "bytes"), rows)
    if len(causes) > SHOWN_CAUSES:
        rest = sum(cause.nbytes for cause in causes[SHOWN_CAUSES:])
        narrator.say(f"and {len(causes) - SHOWN_CAUSES} more with {format_bytes(rest)}")
    share = plan.attributed_share
    if share is not None:
        narrator.say(f"{share:.1%} of the bytes are traced to a layer and a rule.")


def _rule(rule: Rule | str | None) -> str:
    return f"rule {rule.number}" if isinstance(rule, Rule) else rule or "not traced"


def _show_time(narrator: ConsoleNarrator, plan: "Plan") -> None:
    assert plan.flops is not None
    assert plan.roofline is not None
    compute = (
        f"{plan.flops * plan.topology.devices / 1e12:.3g} TFLOP on all devices, "
        f"{plan.flops_per_parameter_and_token:.2f} per parameter and token, at the published peak"
    )
    hbm = f"{format_bytes(plan.bytes_accessed or 0)} on each device, at the published bandwidth"
    seconds, compiler = "-", "it has no estimate for this program"
    if plan.compiler_seconds:
        seconds = f"{plan.compiler_seconds:.3g}"
        compiler = f"its own estimate, without the links: {plan.tokens_per_second:,.0f} tokens per second"
    narrator.step("Time per step (estimates, for comparison only)")
    narrator.table(
        ("", "seconds per step", ""),
        [
            ("compute", f"{plan.roofline.compute:.3g}", compute),
            ("HBM", f"{plan.roofline.hbm:.3g}", hbm),
            ("links", f"{plan.roofline.links:.3g}", "ring algorithms over all links of a device"),
            ("compiler", seconds, compiler),
        ],
    )


def show_comparison(
    preset: str, names: Sequence[str], plans: "Sequence[Plan]", differences: "Sequence[Difference]"
) -> None:
    """Print two plans side by side, and the layers that make the difference."""
    narrator = ConsoleNarrator()
    narrator.step(f"{preset} on {plans[0].topology.name}: {names[0]} and {names[1]}")
    seconds = [f"{plan.compiler_seconds:.3g}" if plan.compiler_seconds else "-" for plan in plans]
    kinds = dict.fromkeys(kind for plan in plans for kind in plan.by_kind())
    rows = [
        ("fits", *map(_fits, plans)),
        ("arguments", *(format_bytes(plan.arguments) for plan in plans)),
        ("temporaries", *(format_bytes(plan.temporaries) for plan in plans)),
        ("peak", *(format_bytes(plan.peak) for plan in plans)),
        *((kind, *(_count(plan.by_kind().get(kind)) for plan in plans)) for kind in kinds),
        ("links, seconds", *(f"{plan.roofline.links:.3g}" if plan.roofline else "-" for plan in plans)),
        ("compiler's seconds", *seconds),
    ]
    if plans[0].settings.mesh != plans[1].settings.mesh:
        rows.insert(0, ("mesh", *("x".join(map(str, plan.settings.mesh)) for plan in plans)))
    narrator.table(("", *names), rows)
    if sentence := _which_sends_less(names, plans):
        narrator.say(sentence)
    narrator.step("What makes the difference")
    if not differences:
        narrator.say("Nothing: both plans have the same bytes in each layer.")
    for difference in differences[:SHOWN_DIFFERENCES]:
        _show_difference(narrator, names, difference)
    if len(differences) > SHOWN_DIFFERENCES:
        narrator.say(f"and {len(differences) - SHOWN_DIFFERENCES} more kinds of layers, with smaller differences")


def _which_sends_less(names: Sequence[str], plans: "Sequence[Plan]") -> str:
    """A sentence that compares the time on the links, which counts what each collective sends."""
    if not (plans[0].roofline and plans[1].roofline):
        return ""
    first, second = (plan.roofline.links * plan.topology.link_bandwidth for plan in plans if plan.roofline)
    sent = f"a device sends {format_bytes(round(first))} per step with {names[0]} and {format_bytes(round(second))} "
    if first == second:
        return f"{sent}with {names[1]}: the same."
    return f"{sent}with {names[1]}: {names[0] if first < second else names[1]} sends less."


def _show_difference(narrator: ConsoleNarrator, names: Sequence[str], difference: "Difference") -> None:
    first, second = difference.rules
    rules = " (the same rule in both)" if difference.same_rule else f": {first} against {second}"
    narrator.say(f"{difference.layer_kind}{rules}")
    rows = [
        ("memory of one device", *map(format_bytes, difference.held)),
        ("sent per step", *map(format_bytes, difference.sent)),
    ]
    for kind in dict.fromkeys(kind for counts in difference.counts for kind in counts):
        rows.append((kind, *(str(counts.get(kind, 0)) for counts in difference.counts)))
    narrator.table(("", *names), rows)


def _fits(plan: "Plan") -> str:
    """Whether the preset fits, in a cell of a table."""
    if plan.preset_fits is None:
        return f"{_blocks(plan)} blocks"
    return f"{'yes' if plan.preset_fits else 'no'}{' (estimate)' if plan.is_extrapolated else ''}"


def _blocks(plan: "Plan") -> str:
    return str(plan.layers) if plan.layers == plan.preset_layers else f"{plan.layers} of {plan.preset_layers}"


def _count(found: tuple[int, int] | None) -> str:
    return f"{found[0]}, {format_bytes(found[1])}" if found else "0"
