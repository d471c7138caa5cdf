"""What a training step needs on a TPU: memory, collectives, work and time, by the TPU compiler's own account."""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kit.evidence.attribution import AttributedCollective, Cause, Rule, attribute, causes, without_block_number
from kit.evidence.rule_coverage import RuleCoverage
from kit.narrator import as_bytes, as_tuple
from kit.tpu.compiler import DoesNotFit, compile_for_tpu, topology_devices, usable_nbytes
from kit.tpu.step import LoweredStep, Slot, StepParts, StepSettings, lower_step
from kit.tpu.topologies import Topology


@dataclass(frozen=True)
class Roofline:
    """Times that a step cannot be shorter than, in seconds, by published peak figures: to compare with, and no promise."""

    #: Floating point operations at the peak of bfloat16 products, which float32 products take on a TPU too by default.
    compute: float
    #: Bytes between HBM and the core, as the compiler counts them.
    hbm: float
    #: Bytes over the links, by ring algorithms that use all links of a device.
    links: float


@dataclass(frozen=True)
class Plan:
    """The answer for one configuration. Sizes are bytes on one device; times are seconds."""

    topology: Topology
    settings: StepSettings
    #: Decoder blocks that the answer is for, and those that were compiled.
    layers: int
    compiled_layers: tuple[int, ...]
    fits: bool
    arguments: int
    #: Arguments as counted from shapes and shardings, without the compiler's padding.
    counted_arguments: int
    temporaries: int
    #: The most that is in use at a time: arguments, temporaries, code, and results that take no argument's place.
    peak: int
    #: Results that take no argument's place. With the state donated that is next to nothing.
    kept: int
    usable: int
    #: Arguments by kind of layer, with the rule that splits them, the most bytes first.
    held: tuple[tuple[str, str, int], ...]
    parameters: int
    trainable: int
    coverage: RuleCoverage
    #: None if the program did not compile, since it does not fit.
    causes: tuple[Cause, ...] | None
    #: Floating point operations of one device.
    flops: float | None
    bytes_accessed: float | None
    #: The compiler's own estimate of the time.
    compiler_seconds: float | None
    roofline: Roofline | None

    @property
    def tokens(self) -> int:
        """Tokens in a step."""
        return self.settings.batch_size * self.settings.sequence_length

    @property
    def flops_per_parameter_and_token(self) -> float | None:
        """About 6 where all parameters are trained, and 4 where none but small adapters are."""
        if self.flops is None:
            return None
        return self.flops * self.topology.devices / self.parameters / self.tokens

    @property
    def tokens_per_second(self) -> float | None:
        """By the compiler's estimate."""
        return self.tokens / self.compiler_seconds if self.compiler_seconds else None

    def by_kind(self) -> dict[str, tuple[int, int]]:
        """Collectives: kind -> how many, and bytes of their results on one device."""
        found: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        for cause in self.causes or ():
            found[cause.kind][0] += cause.count
            found[cause.kind][1] += cause.nbytes
        return {kind: (count, nbytes) for kind, (count, nbytes) in sorted(found.items())}

    @property
    def attributed_share(self) -> float | None:
        """Share of the collectives' bytes that a layer and a rule, or the split of the batch, stand behind."""
        total = sum(cause.nbytes for cause in self.causes or ())
        known = sum(cause.nbytes for cause in self.causes or () if cause.rule and cause.layer_kind)
        return known / total if total else None


def make_plan(
    config: Mapping[str, Any],
    topology: Topology,
    settings: StepSettings,
    parts: StepParts,
    layers: Sequence[int] = (),
    told: Callable[[str], None] = lambda text: None,
) -> Plan:
    """Compile a step, or steps of few blocks, for a topology.

    Args:
        config: The content of a preset's ``config.json``.
        topology: Of as many devices as jax simulates.
        settings: What is compiled.
        parts: What it is made of.
        layers: Nothing for all blocks; one number to have a model of so many; two to compile these and go on in a straight line
            to all blocks, in which everything but the first and the last block is alike.
        told: Is told what takes time.

    Raises:
        UserError: if the layout map cannot be used on this model and mesh.

    """
    usable = usable_nbytes(topology)
    wanted = config["config"]["num_layers"] if len(layers) != 1 else layers[0]
    if len(layers) < 2:
        return _compiled(config, topology, settings, parts, wanted, usable, told)
    few = [_compiled(config, topology, settings, parts, number, usable, told) for number in layers]
    if not all(plan.fits for plan in few):
        return replace(few[-1], compiled_layers=tuple(layers))
    whole = _lower(config, topology, settings, parts, wanted)
    return _extrapolated(few, wanted, whole, usable)


def _lower(
    config: Mapping[str, Any], topology: Topology, settings: StepSettings, parts: StepParts, layers: int
) -> LoweredStep:
    return lower_step(config, settings, parts, topology_devices(topology), layers)


def _compiled(
    config: Mapping[str, Any],
    topology: Topology,
    settings: StepSettings,
    parts: StepParts,
    layers: int,
    usable: int,
    told: Callable[[str], None],
) -> Plan:
    step = _lower(config, topology, settings, parts, layers)
    told(f"compiling {layers} decoder blocks for {topology.name}")
    found = compile_for_tpu(step.lowered, topology)
    slots = [slot for group in step.slots for slot in group]
    counted = count_arguments(step)
    common: dict[str, Any] = {
        "topology": topology,
        "settings": settings,
        "layers": layers,
        "compiled_layers": (layers,),
        "counted_arguments": counted,
        "usable": usable,
        "held": _held(slots, step),
        "parameters": sum(variable.size for variable in step.variables),
        "trainable": sum(variable.size for variable in step.variables if variable.trainable),
        "coverage": step.coverage,
    }
    if isinstance(found, DoesNotFit):
        peak = found.needed or counted
        return Plan(
            **common,
            fits=False,
            arguments=counted,
            temporaries=max(peak - counted, 0),
            peak=peak,
            kept=0,
            causes=None,
            flops=None,
            bytes_accessed=None,
            compiler_seconds=None,
            roofline=None,
        )
    attributed = attribute(
        found.text,
        [[slot.variable for slot in group] for group in step.slots],
        [(rule.pattern, rule.spec, rule.paths) for rule in step.coverage.rules],
        ["/".join(slot.path.split("/")[:-1]) for slot in slots if slot.variable == slot.path],
        step.axes,
    )
    kept = max(found.results - found.aliased, 0)
    peak = found.arguments + found.temporaries + found.code + kept
    return Plan(
        **common,
        fits=peak <= usable,
        arguments=found.arguments,
        temporaries=found.temporaries,
        peak=peak,
        kept=kept,
        causes=causes(attributed),
        flops=found.flops,
        bytes_accessed=found.bytes_accessed,
        compiler_seconds=found.seconds,
        roofline=_roofline(topology, found.flops, found.bytes_accessed, link_nbytes(attributed)),
    )


def count_arguments(step: LoweredStep) -> int:
    """Bytes of a step's state on one device, by shapes and shardings: what the compiler holds, without its padding."""
    return sum(_nbytes_per_device(slot, step.axes) for group in step.slots for slot in group)


def _nbytes_per_device(slot: Slot, axes: Mapping[str, int]) -> int:
    import jax.numpy as jnp

    named = [axis for entry in slot.spec if entry for axis in (entry if isinstance(entry, tuple) else (entry,))]
    parts = math.prod(axes[axis] for axis in named)
    return math.prod(slot.shape) * jnp.dtype(slot.dtype).itemsize // parts


def _held(slots: Sequence[Slot], step: LoweredStep) -> tuple[tuple[str, str, int], ...]:
    """(kind of variable, how it is split, bytes on one device): blocks are added up, an optimizer's moments go by themselves."""
    rules = {
        path: f"rule {number}, {rule.pattern}"
        for number, rule in enumerate(step.coverage.rules, 1)
        for path in rule.paths
    }
    found: dict[tuple[str, str], int] = defaultdict(int)
    for slot in slots:
        kind = without_block_number(slot.variable) or "step count, rate and metrics"
        if slot.group == "optimizer" and slot.variable:
            kind = f"optimizer: {kind}"
        found[kind, rules.get(slot.variable, "")] += _nbytes_per_device(slot, step.axes)
    return tuple((kind, rule, nbytes) for (kind, rule), nbytes in sorted(found.items(), key=lambda item: -item[1]))


def link_nbytes(attributed: Sequence[AttributedCollective]) -> float:
    """Bytes that a device sends, by ring algorithms.

    In a group of n that is 2 (n-1)/n of an all-reduce's result, (n-1)/n of an all-gather's or an all-to-all's, n-1 times that of
    a reduce-scatter, and all of a permute's.

    Source: Thakur, Rabenseifner, Gropp, "Optimization of Collective Communication Operations in MPICH" (2005).
    """
    total = 0.0
    for collective in attributed:
        size = collective.group_size
        share = {
            "all-reduce": 2 * (size - 1) / size,
            "reduce-scatter": size - 1.0,
            "collective-permute": 1.0,
        }.get(collective.kind, (size - 1) / size)
        total += share * collective.nbytes
    return total


def _roofline(topology: Topology, flops: float, bytes_accessed: float, sent: float) -> Roofline:
    return Roofline(
        flops / topology.peak_flops, bytes_accessed / topology.hbm_bandwidth, sent / topology.link_bandwidth
    )


def _extrapolated(few: Sequence[Plan], layers: int, whole: LoweredStep, usable: int) -> Plan:
    """What plans of two numbers of blocks say of more."""
    first, last = few[0], few[-1]
    factor = (layers - first.layers) / (last.layers - first.layers)

    def line(before: float, after: float) -> float:
        return before + (after - before) * factor

    def of(name: str) -> float:
        return line(getattr(first, name), getattr(last, name))

    keys = dict.fromkeys((cause.rule, cause.layer_kind, cause.kind) for plan in few for cause in plan.causes or ())
    found = [
        {(cause.rule, cause.layer_kind, cause.kind): cause for cause in plan.causes or ()} for plan in (first, last)
    ]
    nothing = Cause(None, None, "", 0, 0)
    made = [
        Cause(
            *key,
            max(round(line(found[0].get(key, nothing).count, found[1].get(key, nothing).count)), 0),
            max(round(line(found[0].get(key, nothing).nbytes, found[1].get(key, nothing).nbytes)), 0),
        )
        for key in keys
    ]
    slots = [slot for group in whole.slots for slot in group]
    assert first.roofline is not None
    assert last.roofline is not None
    peak = round(of("peak"))
    return replace(
        last,
        layers=layers,
        compiled_layers=tuple(plan.layers for plan in few),
        fits=peak <= usable,
        arguments=round(of("arguments")),
        counted_arguments=count_arguments(whole),
        temporaries=round(of("temporaries")),
        peak=peak,
        kept=round(of("kept")),
        held=_held(slots, whole),
        parameters=sum(variable.size for variable in whole.variables),
        trainable=sum(variable.size for variable in whole.variables if variable.trainable),
        coverage=whole.coverage,
        causes=tuple(sorted((cause for cause in made if cause.count), key=lambda cause: -cause.nbytes)),
        flops=of("flops"),
        bytes_accessed=of("bytes_accessed"),
        compiler_seconds=of("compiler_seconds"),
        roofline=Roofline(
            line(first.roofline.compute, last.roofline.compute),
            line(first.roofline.hbm, last.roofline.hbm),
            line(first.roofline.links, last.roofline.links),
        ),
    )


@dataclass(frozen=True)
class Difference:
    """What two implementations do differently to one kind of layer."""

    layer_kind: str
    rules: tuple[str, str]
    #: Bytes of arguments on one device, in the first and in the second.
    held: tuple[int, int]
    #: Bytes of collectives, in the first and in the second.
    sent: tuple[int, int]
    #: How many there are, by kind, in the first and in the second.
    counts: tuple[Mapping[str, int], Mapping[str, int]]


def compare(first: Plan, second: Plan) -> tuple[Difference, ...]:
    """Where two plans of one model differ: the rules of a kind of layer, what it holds and what it sends; the most bytes first."""
    before, after = _by_layer(first), _by_layer(second)
    kinds = dict.fromkeys(kind for side in (before, after) for kind in (*side.held, *side.sent))
    found = [
        Difference(
            kind,
            (before.rules.get(kind, "no rule"), after.rules.get(kind, "no rule")),
            (before.held.get(kind, 0), after.held.get(kind, 0)),
            (before.sent.get(kind, 0), after.sent.get(kind, 0)),
            (dict(before.counts.get(kind, {})), dict(after.counts.get(kind, {}))),
        )
        for kind in kinds
    ]
    differing = [entry for entry in found if entry.held[0] != entry.held[1] or entry.sent[0] != entry.sent[1]]
    # A layer whose own rule is another comes first: what else changes follows from it.
    return tuple(
        sorted(
            differing,
            key=lambda entry: (
                entry.rules[0] == entry.rules[1],
                -abs(entry.held[0] - entry.held[1]) - abs(entry.sent[0] - entry.sent[1]),
            ),
        )
    )


@dataclass(frozen=True)
class _ByLayer:
    """A plan by kind of layer: its rule, bytes held and sent, and collectives by kind."""

    rules: dict[str, str]
    held: dict[str, int]
    sent: dict[str, int]
    counts: dict[str, dict[str, int]]


def _by_layer(plan: Plan) -> _ByLayer:
    found = _ByLayer({}, defaultdict(int), defaultdict(int), defaultdict(lambda: defaultdict(int)))
    for rule in plan.coverage.rules:
        for path in rule.paths:
            kind = without_block_number(path.rpartition("/")[0])
            found.rules[kind] = f"{rule.pattern} {as_tuple(rule.spec)}"
    for kind, _, nbytes in plan.held:
        found.held[kind.removeprefix("optimizer: ").rpartition("/")[0] or kind] += nbytes
    for cause in plan.causes or ():
        kind = cause.layer_kind or "not traced"
        found.sent[kind] += cause.nbytes
        found.counts[kind][cause.kind] += cause.count
    return found


def what_would_help(plan: Plan) -> list[str]:
    """What to try if a step does not fit, by what it holds; the most likely first."""
    advice = []
    whole = [variable for variable in plan.coverage.replicated if variable.nbytes > 0.01 * plan.coverage.nbytes]
    unsplit = sum(variable.nbytes for variable in plan.coverage.replicated)
    if whole or unsplit > 0.01 * plan.coverage.nbytes:
        advice.append(
            f"a layout that splits every matrix: {len(plan.coverage.replicated)} variables, {as_bytes(unsplit)}, are held whole "
            "by each device"
        )
    if plan.settings.rank == 0:
        moments = sum(nbytes for kind, _, nbytes in plan.held if kind.startswith("optimizer"))
        advice.append(f"LoRA (`--rank 4`): the optimizer's moments take {as_bytes(moments)}")
    if plan.settings.dtype == "float32":
        advice.append("bfloat16 weights (`--dtype bfloat16`), which take half of the bytes")
    if not plan.settings.remat and plan.temporaries > 0.1 * plan.usable:
        advice.append(f"`--remat`: the temporaries take {as_bytes(plan.temporaries)}")
    if plan.settings.batch_size > plan.settings.mesh[0]:
        advice.append("a smaller `--batch-size`, or a shorter `--sequence-length`")
    advice.append("a topology with more HBM")
    return advice


def as_json(plan: Plan) -> dict[str, Any]:
    """The plan as `kit plan --json` prints it."""
    return {
        "fits": plan.fits,
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
        "roofline_seconds": (
            {"compute": plan.roofline.compute, "hbm": plan.roofline.hbm, "links": plan.roofline.links}
            if plan.roofline
            else None
        ),
        "parameters": {"trainable": plan.trainable, "total": plan.parameters},
        "layers": {"planned": plan.layers, "compiled": list(plan.compiled_layers)},
        "causes": [
            {
                "rule": _rule_as_json(cause.rule),
                "layer": cause.layer_kind,
                "kind": cause.kind,
                "count": cause.count,
                "bytes": cause.nbytes,
            }
            for cause in plan.causes or ()
        ],
        "attributed_share": plan.attributed_share,
        "held": [{"variable": kind, "rule": rule or None, "bytes": nbytes} for kind, rule, nbytes in plan.held],
        "topology": plan.topology.name,
        "mesh": {"batch": plan.settings.mesh[0], "model": plan.settings.mesh[1]},
        "settings": {
            "rank": plan.settings.rank,
            "batch_size": plan.settings.batch_size,
            "sequence_length": plan.settings.sequence_length,
            "dtype": plan.settings.dtype,
            "remat": plan.settings.remat,
        },
    }


def _rule_as_json(rule: Rule | str | None) -> Any:
    if isinstance(rule, Rule):
        return {"number": rule.number, "pattern": rule.pattern, "spec": list(rule.spec)}
    return rule
