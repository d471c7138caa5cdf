"""How a plan looks on a terminal."""

from collections.abc import Sequence

from kit.cli.console import ConsoleNarrator
from kit.evidence.attribution import Rule
from kit.narrator import as_bytes, as_count, as_tuple
from kit.tpu.plan import Difference, Plan, what_would_help

SHOWN_CAUSES = 14
SHOWN_HELD = 8


def show_plan(preset: str, plan: Plan, impl: str) -> None:
    """Print what was found, the answer first."""
    told = ConsoleNarrator()
    told.step(f"{preset} on {plan.topology.name}: {'it fits' if plan.fits else 'it does not fit'}")
    told.say(_what(plan, impl))
    rows = [
        ("arguments", as_bytes(plan.arguments), "weights, adapters, moments and the batch"),
        ("temporaries", as_bytes(plan.temporaries), "activations, gradients and what is on its way"),
        ("peak", as_bytes(plan.peak), "with the program, and results that take no argument's place"),
        ("usable", as_bytes(plan.usable), "HBM that the compiler gives to a program"),
    ]
    told.table(("on one device", "", ""), rows)
    if not plan.fits:
        told.say("What would help:")
        for advice in what_would_help(plan):
            told.say(f"- {advice}")
    if len(plan.compiled_layers) > 1 and plan.causes is not None:
        apart = abs(plan.arguments - plan.counted_arguments) / plan.counted_arguments
        told.say(
            f"{' and '.join(map(str, plan.compiled_layers))} decoder blocks were compiled, and the rest is a straight line through "
            f"them. Of the arguments that is {as_bytes(plan.arguments)}, and {as_bytes(plan.counted_arguments)} by the shapes of "
            f"all {plan.layers}: {apart:.2%} apart (the compiler pads)."
        )
        if not plan.settings.rank:
            told.say(
                "Temporaries lie on no straight line where all parameters are tuned, since a compiler that is short of memory "
                "finds ways to need less: whether it fits, `--layers all` says."
            )

    told.step("The rules of the layout")
    told.table(
        ("rule", "pattern", "spec", "variables"),
        [
            (str(number), rule.pattern, as_tuple(rule.spec), str(len(rule.paths)))
            for number, rule in enumerate(plan.coverage.rules, 1)
        ],
    )
    told.step("What a device holds")
    told.table(
        ("variables", "split by", ""),
        [
            (kind, rule.partition(",")[0] or "no rule", as_bytes(nbytes))
            for kind, rule, nbytes in plan.held[:SHOWN_HELD]
        ],
    )
    if len(plan.held) > SHOWN_HELD:
        told.say(f"and {as_bytes(sum(nbytes for *_, nbytes in plan.held[SHOWN_HELD:]))} of smaller ones")
    if plan.causes is None:
        told.step("The compiler made no program, so there are no collectives and no times to show")
        told.say("`--layers 2,4` compiles few blocks, which may fit, and goes on in a straight line.")
        return
    _show_collectives(told, plan)
    _show_time(told, plan)


def _what(plan: Plan, impl: str) -> str:
    settings = plan.settings
    tuned = f"LoRA of rank {settings.rank}" if settings.rank else "all parameters tuned"
    return (
        f"Parts: {impl}. Mesh {settings.mesh[0]}x{settings.mesh[1]}, {tuned} ({as_count(plan.trainable)} of "
        f"{as_count(plan.parameters)}), {settings.dtype}, batch {settings.batch_size} x {settings.sequence_length} tokens, "
        f"{plan.layers} decoder blocks{', each computed twice' if settings.remat else ''}."
    )


def _show_collectives(told: ConsoleNarrator, plan: Plan) -> None:
    told.step("What devices send each other in a step")
    told.table(
        ("collective", "how many", "bytes of results"),
        [(kind, str(count), as_bytes(nbytes)) for kind, (count, nbytes) in plan.by_kind().items()],
    )
    told.step("Because of which rule")
    causes = plan.causes or ()
    told.table(
        ("rule", "needed by", "collective", "how many", "bytes"),
        [
            (
                _rule(cause.rule),
                cause.layer_kind or "not traced",
                cause.kind,
                str(cause.count),
                as_bytes(cause.nbytes),
            )
            for cause in causes[:SHOWN_CAUSES]
        ],
    )
    if len(causes) > SHOWN_CAUSES:
        rest = sum(cause.nbytes for cause in causes[SHOWN_CAUSES:])
        told.say(f"and {len(causes) - SHOWN_CAUSES} more with {as_bytes(rest)}")
    share = plan.attributed_share
    if share is not None:
        told.say(f"{share:.1%} of the bytes are traced to a layer and a rule.")


def _rule(rule: Rule | str | None) -> str:
    return f"rule {rule.number}" if isinstance(rule, Rule) else rule or "not traced"


def _show_time(told: ConsoleNarrator, plan: Plan) -> None:
    assert plan.flops is not None
    assert plan.roofline is not None
    assert plan.compiler_seconds is not None
    told.step("How long that may take (estimates to compare with, and no promises)")
    roofline = plan.roofline
    told.table(
        ("", "seconds a step", ""),
        [
            (
                "compute",
                f"{roofline.compute:.3g}",
                f"{plan.flops * plan.topology.devices / 1e12:.3g} TFLOP on all devices, {plan.flops_per_parameter_and_token:.2f} for each "
                "parameter and token, at the published peak",
            ),
            (
                "HBM",
                f"{roofline.hbm:.3g}",
                f"{as_bytes(plan.bytes_accessed or 0)} on each device, at the published bandwidth",
            ),
            ("links", f"{roofline.links:.3g}", "by rings over all links of a device, beside nothing else"),
            (
                "compiler",
                f"{plan.compiler_seconds:.3g}",
                f"its own estimate, which leaves links out: {plan.tokens_per_second:,.0f} tokens a second",
            ),
        ],
    )


def show_comparison(
    preset: str, names: Sequence[str], plans: Sequence[Plan], differences: Sequence[Difference]
) -> None:
    """Print two plans beside each other, and what makes the difference."""
    told = ConsoleNarrator()
    told.step(f"{preset} on {plans[0].topology.name}: {names[0]} and {names[1]}")
    told.table(
        ("", *names),
        [
            ("fits", *("yes" if plan.fits else "no" for plan in plans)),
            ("arguments", *(as_bytes(plan.arguments) for plan in plans)),
            ("temporaries", *(as_bytes(plan.temporaries) for plan in plans)),
            ("peak", *(as_bytes(plan.peak) for plan in plans)),
            *(
                (kind, *(_count(plan.by_kind().get(kind)) for plan in plans))
                for kind in dict.fromkeys(kind for plan in plans for kind in plan.by_kind())
            ),
            (
                "compiler's seconds",
                *(f"{plan.compiler_seconds:.3g}" if plan.compiler_seconds else "-" for plan in plans),
            ),
        ],
    )
    told.step("What makes the difference")
    if not differences:
        told.say("Nothing: both hold and send the same, layer by layer.")
        return
    for entry in differences[:8]:
        if entry.rules[0] == entry.rules[1]:
            told.say(f"{entry.layer_kind} (the same rule in both)")
        else:
            told.say(f"{entry.layer_kind}: {entry.rules[0]} against {entry.rules[1]}")
        told.table(
            ("", *names),
            [
                ("held by a device", *map(as_bytes, entry.held)),
                ("sent in a step", *map(as_bytes, entry.sent)),
                *(
                    (kind, *(str(counts.get(kind, 0)) for counts in entry.counts))
                    for kind in dict.fromkeys(kind for counts in entry.counts for kind in counts)
                ),
            ],
        )
    if len(differences) > 8:
        told.say(f"and {len(differences) - 8} more kinds of layers, with less")


def _count(found: tuple[int, int] | None) -> str:
    return f"{found[0]}, {as_bytes(found[1])}" if found else "0"
