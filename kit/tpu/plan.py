"""Plans: what a training step needs on a TPU, as the TPU compiler computes it."""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from typing import Any

from kit.evidence.attribution import AttributedCollective, Cause, attribute, causes
from kit.evidence.layer_kinds import LayerKinds
from kit.evidence.rule_coverage import RuleCoverage
from kit.models.blocks import check_extrapolation
from kit.tpu.compiler import DoesNotFit, TpuProgram, compile_for_tpu, topology_devices, usable_nbytes
from kit.tpu.own_step import OwnModel, build_own_model
from kit.tpu.step import LoweredStep, Slot, StepParts, StepSettings, StepState, lower_step, state_of_step
from kit.tpu.topologies import Topology

#: full: the program of `fit`; quick: another one, for an estimate; auto: quick on one device,
#: unless the peak is near the usable memory.
EFFORTS = ("auto", "full", "quick")
#: So near to the usable memory, as a share of it, an estimate does not say whether a step fits.
NEAR = 0.1


@dataclass(frozen=True)
class Roofline:
    """Lower bounds of a step's time in seconds, by published peak figures. They are no promise."""

    #: Floating point operations at the peak of bfloat16 products, which a TPU also uses for float32
    #: products by default.
    compute: float
    #: Bytes between HBM and the core, as the compiler counts them.
    hbm: float
    #: Bytes over the links, by ring algorithms that use all links of a device.
    links: float


@dataclass(frozen=True)
class Plan:
    """What one configuration needs. Sizes are bytes on one device; times are seconds."""

    topology: Topology
    settings: StepSettings
    #: Decoder blocks of the planned model, and of the preset; of your own model its repeated
    #: layers, of which it may have none.
    layers: int
    preset_layers: int
    #: The numbers of blocks that were compiled; none if the arguments alone need more memory than
    #: there is. The peak is then that of the arguments.
    compiled_layers: tuple[int, ...]
    #: Whether these decoder blocks fit; ``answer`` and ``preset_fits`` are about the preset.
    fits: bool
    arguments: int
    #: Arguments as counted from shapes and shardings, without the compiler's padding.
    counted_arguments: int
    temporaries: int
    #: Peak memory: arguments, temporaries, code, and results that do not reuse an argument's
    #: memory.
    peak: int
    usable: int
    #: (kind of variable, rule that shards it, bytes of arguments), the most bytes first.
    held: tuple[tuple[str, str, int], ...]
    parameters: int
    trainable: int
    coverage: RuleCoverage
    #: The mesh's axes and their sizes.
    axes: Mapping[str, int]
    kinds: LayerKinds = field(repr=False, compare=False)
    #: Whether functions of the user's make the model, and not a preset.
    own: bool = False
    #: Results that do not reuse an argument's memory. With donated state that is next to nothing.
    kept: int = 0
    #: Whether the compiler made a quick program, so that temporaries and times are estimates.
    quick: bool = False
    #: This and the following are None if the compiler made no program, because the step does not
    #: fit.
    causes: tuple[Cause, ...] | None = None
    #: Floating point operations of one device.
    flops: float | None = None
    bytes_accessed: float | None = None
    #: The compiler's own estimate of the time; None if it is negative, as for some large programs.
    compiler_seconds: float | None = None
    roofline: Roofline | None = None

    @property
    def is_extrapolated(self) -> bool:
        """Whether the numbers are extrapolated from plans of few decoder blocks."""
        return len(self.compiled_layers) > 1 and self.layers == self.preset_layers

    @property
    def preset_fits(self) -> bool | None:
        """Whether the preset fits; None if this plan of fewer decoder blocks does not say it."""
        return None if self.fits and self.layers < self.preset_layers else self.fits

    @property
    def answer(self) -> str:
        """Whether the preset fits, as a headline says it."""
        blocks = f"{self.layers} of {self.preset_layers} blocks"
        if self.preset_fits is None:
            return f"{blocks}: not an answer"
        answer = "it fits" if self.preset_fits else "it does not fit"
        if self.is_extrapolated:
            few = " and ".join(map(str, self.compiled_layers))
            return f"{answer} (estimate from {few} of {self.preset_layers} blocks)"
        return answer if self.layers == self.preset_layers else f"{answer}, and this is only {blocks}"

    @property
    def tokens(self) -> int:
        """Tokens per step."""
        return self.settings.batch_size * self.settings.sequence_length

    @property
    def flops_per_parameter_and_token(self) -> float | None:
        """About 6 if all parameters are trained, and 4 if only small adapters are."""
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
        """Share of the collectives' bytes that are traced to a layer and to a rule or the batch."""
        total = sum(cause.nbytes for cause in self.causes or ())
        known = sum(cause.nbytes for cause in self.causes or () if cause.rule and cause.layer_kind)
        return known / total if total else None


def make_plan(
    config: Mapping[str, Any],
    topology: Topology,
    settings: StepSettings,
    parts: StepParts,
    layers: Sequence[int] = (),
    report: Callable[[str], None] = lambda text: None,
    effort: str = "full",
) -> Plan:
    """Compile a training step for a topology, with all decoder blocks or with few.

    ``config`` is the content of a preset's ``config.json``. The topology has as many devices as jax
    simulates. ``layers`` is empty for all blocks; one number for a model of that many blocks; two
    numbers to compile both and extrapolate linearly to all blocks: all blocks but the first and the
    last are alike, or repeat after some number of blocks, of which both are then multiples.
    ``report`` is called with a sentence before each compilation. ``effort`` is one of
    :data:`EFFORTS`. Raises UserError if the layout map cannot be used on this model and mesh, and
    if these numbers cannot be extrapolated.
    """
    if len(layers) > 1:
        check_extrapolation(config, layers)
    if effort == "auto":
        return _auto(lambda chosen: make_plan(config, topology, settings, parts, layers, report, chosen), topology)
    quick = effort == "quick"
    preset_layers = config["config"]["num_layers"]

    def lower(blocks: int) -> LoweredStep:
        return lower_step(config, settings, parts, topology_devices(topology), blocks)

    def compile_blocks(blocks: int) -> Plan:
        report(f"building a step of {blocks} decoder blocks")
        step, what = lower(blocks), f"{blocks} decoder blocks"
        made = plan_of_step(step, topology, settings, what, report, quick, refuse=len(layers) < 2)
        compiled = (blocks,) if made.compiled_layers else ()
        return replace(made, layers=blocks, preset_layers=preset_layers, compiled_layers=compiled)

    wanted = preset_layers if len(layers) != 1 else layers[0]
    if len(layers) < 2:
        return compile_blocks(wanted)
    few = [compile_blocks(blocks) for blocks in layers]
    if not all(plan.fits for plan in few):
        return replace(few[-1], compiled_layers=tuple(layers))
    return _extrapolate(few[0], few[-1], wanted, state_of_step(config, settings, parts, wanted))


def _auto(make: Callable[[str], Plan], topology: Topology) -> Plan:
    """A quick plan on one device, unless it is uncertain whether the step fits; else a full one."""
    made = make("quick" if topology.devices == 1 else "full")
    if not made.quick or abs(made.peak / made.usable - 1) > NEAR:
        return made
    return make("full")


def make_own_plan(
    own: OwnModel, topology: Topology, report: Callable[[str], None] = lambda text: None, effort: str = "full"
) -> Plan:
    """Compile the whole training step of any Keras model for a topology.

    ``effort`` is one of :data:`EFFORTS`. Raises UserError if the model, its layout map or its batch
    cannot be used.
    """
    if effort == "auto":
        return _auto(lambda chosen: make_own_plan(own, topology, report, chosen), topology)
    devices = topology_devices(topology)
    report("building the model")
    built = build_own_model(own, devices)
    report("tracing a training step")
    step = built.lower(devices)
    made = plan_of_step(step, topology, built.settings, "the whole step", report, effort == "quick")
    return replace(made, own=True)


def plan_of_step(
    step: LoweredStep,
    topology: Topology,
    settings: StepSettings,
    what: str,
    report: Callable[[str], None] = lambda text: None,
    quick: bool = False,
    refuse: bool = True,
) -> Plan:
    """Compile a lowered step, unless its arguments alone need more memory than there is.

    Without ``refuse`` it is compiled anyway.
    """
    if refuse and count_arguments(step) > usable_nbytes(topology):
        # The compiler would take minutes to say so.
        return replace(_plan_of(step, DoesNotFit(None, None), topology, settings), compiled_layers=())
    report(f"compiling {what} for {topology.name}{', quickly' if quick else ''}")
    found = compile_for_tpu(step.lowered, topology, quick)
    return replace(_plan_of(step, found, topology, settings), quick=quick)


def _plan_of(
    step: LoweredStep,
    found: TpuProgram | DoesNotFit,
    topology: Topology,
    settings: StepSettings,
) -> Plan:
    """The plan of a step that was compiled, or that does not fit."""
    blocks = step.kinds.blocks
    counted, usable = count_arguments(step), usable_nbytes(topology)
    peak = _peak(found, counted)
    plan = Plan(
        topology=topology,
        settings=settings,
        layers=blocks,
        preset_layers=blocks,
        compiled_layers=(blocks,),
        fits=not isinstance(found, DoesNotFit) and peak <= usable,
        arguments=counted,
        counted_arguments=counted,
        temporaries=max(peak - counted, 0),
        peak=peak,
        usable=usable,
        held=_held(step),
        parameters=sum(variable.size for variable in step.variables),
        trainable=sum(variable.size for variable in step.variables if variable.trainable),
        coverage=step.coverage,
        axes=step.axes,
        kinds=step.kinds,
    )
    if isinstance(found, DoesNotFit):
        return plan
    attributed = _attributed(step, found.text)
    return replace(
        plan,
        arguments=found.arguments,
        temporaries=found.temporaries,
        kept=_kept(found),
        causes=causes(attributed),
        flops=found.flops,
        bytes_accessed=found.bytes_accessed,
        compiler_seconds=found.seconds if found.seconds > 0 else None,
        roofline=Roofline(
            found.flops / topology.peak_flops,
            found.bytes_accessed / topology.hbm_bandwidth,
            link_nbytes(attributed) / topology.link_bandwidth,
        ),
    )


def _peak(found: TpuProgram | DoesNotFit, counted: int) -> int:
    if isinstance(found, DoesNotFit):
        return found.needed or counted
    return found.arguments + found.temporaries + found.code + _kept(found)


def _kept(program: TpuProgram) -> int:
    return max(program.results - program.aliased, 0)


def _attributed(step: LoweredStep, text: str) -> tuple[AttributedCollective, ...]:
    """The collectives of the compiled step, with their layers and rules."""
    slots = [slot for group in step.slots for slot in group]
    return attribute(
        text,
        [[slot.variable for slot in group] for group in step.slots],
        [(rule.pattern, rule.spec, rule.paths) for rule in step.coverage.rules],
        ["/".join(slot.path.split("/")[:-1]) for slot in slots if slot.variable == slot.path],
        step.axes,
        step.kinds,
        step.batch_axis,
    )


def count_arguments(step: StepState) -> int:
    """Bytes of a step's state on one device, without the compiler's padding."""
    return sum(nbytes_per_device(slot, step.axes) for group in step.slots for slot in group)


def nbytes_per_device(slot: Slot, axes: Mapping[str, int]) -> int:
    """Bytes of a variable of the state on one device, without the compiler's padding."""
    import jax.numpy as jnp

    named = [axis for entry in slot.spec if entry for axis in (entry if isinstance(entry, tuple) else (entry,))]
    shards = math.prod(axes[axis] for axis in named)
    return math.prod(slot.shape) * jnp.dtype(slot.dtype).itemsize // shards


def _held(step: StepState) -> tuple[tuple[str, str, int], ...]:
    """(kind of variable, rule that shards it, bytes on one device), the most bytes first.

    The blocks are added up. Moments of the optimizer have rows of their own.
    """
    numbered = enumerate(step.coverage.rules, 1)
    rules = {path: f"rule {number}, {rule.pattern}" for number, rule in numbered for path in rule.paths}
    found: dict[tuple[str, str], int] = defaultdict(int)
    for slot in (slot for group in step.slots for slot in group):
        kind = step.kinds(slot.variable) or "step count, rate and metrics"
        if slot.group == "optimizer" and slot.variable:
            kind = f"optimizer: {kind}"
        found[kind, rules.get(slot.variable, "")] += nbytes_per_device(slot, step.axes)
    return tuple((kind, rule, nbytes) for (kind, rule), nbytes in sorted(found.items(), key=lambda item: -item[1]))


def link_nbytes(attributed: Sequence[AttributedCollective]) -> float:
    """Bytes that a device sends, by ring algorithms.

    In a group of n devices: 2 (n-1)/n of an all-reduce's result, (n-1)/n of an all-gather's or an
    all-to-all's, n-1 times that of a reduce-scatter, and all of a permute's.

    Source: Thakur, Rabenseifner, Gropp, "Optimization of Collective Communication Operations in
    MPICH" (2005).
    """
    total = 0.0
    for collective in attributed:
        size = collective.group_size
        shares = {"all-reduce": 2 * (size - 1) / size, "reduce-scatter": size - 1.0, "collective-permute": 1.0}
        total += shares.get(collective.kind, (size - 1) / size) * collective.nbytes
    return total


def _extrapolate(first: Plan, last: Plan, layers: int, whole: StepState) -> Plan:
    """The plan of a model by a straight line through the plans of two numbers of blocks.

    What needs no compiler is counted from ``whole``, the state of the whole model's step.
    """
    factor = (layers - first.layers) / (last.layers - first.layers)

    def line(before: float, after: float) -> float:
        return before + (after - before) * factor

    def of(name: str) -> float:
        return line(getattr(first, name), getattr(last, name))

    seconds = (first.compiler_seconds, last.compiler_seconds)
    assert first.roofline is not None
    assert last.roofline is not None
    peak = round(of("peak"))
    return replace(
        last,
        layers=layers,
        compiled_layers=(first.layers, last.layers),
        fits=peak <= last.usable,
        arguments=round(of("arguments")),
        counted_arguments=count_arguments(whole),
        temporaries=round(of("temporaries")),
        peak=peak,
        kept=round(of("kept")),
        held=_held(whole),
        parameters=sum(variable.size for variable in whole.variables),
        trainable=sum(variable.size for variable in whole.variables if variable.trainable),
        coverage=whole.coverage,
        kinds=whole.kinds,
        causes=_extrapolate_causes(first.causes or (), last.causes or (), line),
        flops=of("flops"),
        bytes_accessed=of("bytes_accessed"),
        compiler_seconds=time_on_line(seconds, line),
        roofline=Roofline(*map(line, astuple(first.roofline), astuple(last.roofline))),
    )


def time_on_line(seconds: tuple[float | None, float | None], line: Callable[[float, float], float]) -> float | None:
    """The compiler's estimate of the whole step; None if the line gives none above 0."""
    before, after = seconds
    if before is None or after is None:
        return None
    found = line(before, after)
    return found if found > 0 else None


def _extrapolate_causes(
    first: Sequence[Cause], last: Sequence[Cause], line: Callable[[float, float], float]
) -> tuple[Cause, ...]:
    """Causes with the count and the bytes on the line, the most bytes first."""
    before, after = ({(cause.rule, cause.layer_kind, cause.kind): cause for cause in side} for side in (first, last))
    nothing = Cause(None, None, "", 0, 0)
    made = []
    for key in dict.fromkeys([*before, *after]):
        one, two = before.get(key, nothing), after.get(key, nothing)
        count, nbytes = max(round(line(one.count, two.count)), 0), max(round(line(one.nbytes, two.nbytes)), 0)
        made.append(Cause(*key, count, nbytes))
    return tuple(sorted((cause for cause in made if cause.count), key=lambda cause: -cause.nbytes))
