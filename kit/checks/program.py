"""Checks of the compiled training step: what it sends, and the memory that it needs."""

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kit.checks.diagnosis import Failed
from kit.checks.failure import raises_check_failed
from kit.checks.layout import CALL_IT, cover, judge_rules
from kit.checks.tables import Row, grouped, limited
from kit.checks.training import require_even
from kit.formatting import format_bytes, format_tuple

if TYPE_CHECKING:
    import keras

    from kit.evidence.hlo import Instruction
    from kit.evidence.program import Collectives
    from kit.evidence.train_step import LoweredTrainStep
    from kit.tpu.compiler import DoesNotFit, TpuProgram
    from kit.tpu.topologies import Topology

#: A number of operations, or bytes such as "40 MB".
Limit = int | str

#: For all kinds together.
ALL = "all"

_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


@raises_check_failed
def check_collectives(
    model: "keras.Model",
    batch: Any,
    layout_map: "keras.distribution.LayoutMap",
    at_most: Mapping[str, Limit],
    *,
    topology: str | None = None,
) -> "Collectives":
    """Check how many collectives the training step has, or how many bytes these give each device.

    The check compiles the step that ``fit`` would run under ``ModelParallel``, optimizer and
    metrics included, and runs nothing. The model does not change, and its weights need no values.

    It costs one compilation. XLA for simulated devices and the TPU compiler choose different
    collectives: with a topology the numbers are those of the TPU.

    Args:
        model: Built, or to be called on the batch; compiled.
        batch: What ``model.train_on_batch`` takes.
        layout_map: With its device mesh. The batch is sharded over the first axis.
        at_most: Kind -> limit. A kind is "all-reduce", "all-gather", "all-to-all",
            "collective-permute", "reduce-scatter", or "all" for all together. A limit is a number
            of operations, such as 0, or bytes of their results on one device, such as "40 MB". A
            kind that is not named has no limit.
        topology: Compile for this TPU slice, such as "v5e-8", without a TPU. It has as many devices
            as the mesh. Needs libtpu.

    Returns:
        All collectives of the step.

    Raises:
        CheckFailed: NOTHING_TO_CHECK, a mistake in the layout map (LAYOUT_…),
            STEP_TOO_MANY_COLLECTIVES, STEP_NEEDS_TOO_MUCH_MEMORY (the TPU compiler refuses it).
    """
    from kit.evidence.hlo import COLLECTIVE_KINDS, instructions
    from kit.evidence.program import collectives

    limits = _limits(at_most, (*COLLECTIVE_KINDS, ALL))
    step = _lowered(model, batch, layout_map, topology)
    if topology is None:
        text = step.lowered.compile().as_text()
    else:
        text = _fitting(_compiled_for(step, topology), step, topology).text
    found = collectives(text)
    by_kind = found.by_kind()
    by_kind[ALL] = len(found.operations), found.nbytes
    over = []
    for kind, (most, in_bytes) in limits.items():
        count, nbytes = by_kind.get(kind, (0, 0))
        if (nbytes if in_bytes else count) > most:
            over.append(kind)
    if over:
        operations = [one for one in instructions(text) if one.kind in over or (ALL in over and one.kind)]
        _raise_too_many(over[0], limits, by_kind, operations, step)
    return found


def _limits(at_most: Mapping[str, Limit], kinds: tuple[str, ...]) -> dict[str, tuple[int, bool]]:
    """Kind -> the limit, and whether it is in bytes."""
    if not at_most:
        raise ValueError("at_most must name a kind of collective, for example {'all-gather': 0}")
    found = {}
    for kind, limit in at_most.items():
        if kind not in kinds:
            raise ValueError(f"at_most: {kind!r} is not a kind of collective; choose one of {', '.join(kinds)}")
        in_bytes = isinstance(limit, str)
        if not in_bytes and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 0):
            raise ValueError(
                f"at_most: {kind!r} must have a number of operations, or bytes such as '40 MB', not {limit!r}"
            )
        found[kind] = (parse_bytes(limit) if isinstance(limit, str) else limit, in_bytes)
    return found


def parse_bytes(text: str) -> int:
    """Bytes of a text such as "14GB" (1e9) or "14 GiB" (2**30). Raises ValueError for others."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmg]?i?b)\s*", text, re.IGNORECASE)
    if match is None or match[2].upper() not in _UNITS:
        raise ValueError(f"{text!r} is not a number of bytes: write it as '14GB' (powers of 1000) or '14GiB' (of 1024)")
    return round(float(match[1]) * _UNITS[match[2].upper()])


def _lowered(
    model: "keras.Model", batch: Any, layout_map: "keras.distribution.LayoutMap", topology: str | None
) -> "LoweredTrainStep":
    from kit.evidence.train_step import build_on, count_examples, lower_train_step, prepare_data

    if getattr(model, "optimizer", None) is None:
        cause = "The model is not compiled, so that it has no optimizer."
        raise Failed("NOTHING_TO_CHECK", cause, remedy="Call model.compile with an optimizer and a loss.")
    mesh = layout_map.device_mesh
    devices = None
    if topology is not None:
        from kit.tpu.compiler import topology_devices

        found = _topology(topology)
        if found.devices != math.prod(mesh.shape):
            raise ValueError(
                f"{topology} has {found.devices} JAX devices, and the mesh {format_tuple(mesh.shape)} "
                f"{math.prod(mesh.shape)}: make the layout map for a mesh of {found.devices}"
            )
        devices = topology_devices(found)
    data = prepare_data(model, batch)
    examples = count_examples(data)
    if not examples:
        raise Failed("NOTHING_TO_CHECK", "The batch has 0 examples.", remedy="Pass a batch with examples.")
    require_even(examples, mesh.shape[0], mesh.shape)
    build_on(model, data[0])
    if not model.variables:
        raise Failed("NOTHING_TO_CHECK", "The model has no variables.", remedy=CALL_IT)
    if len(layout_map):
        judge_rules(cover(layout_map, model)[0], layout_map, every_rule_matches=False)
    return lower_train_step(model, data, layout_map, devices)


def _topology(name: str) -> "Topology":
    from kit.tpu.topologies import TOPOLOGIES

    if name not in TOPOLOGIES:
        raise ValueError(f"topology: {name!r} is unknown; choose one of {', '.join(TOPOLOGIES)}")
    return TOPOLOGIES[name]


def _compiled_for(step: "LoweredTrainStep", topology: str) -> "TpuProgram | DoesNotFit":
    from kit.tpu.compiler import DoesNotFit, compile_for_tpu, usable_nbytes

    found = _topology(topology)
    # The compiler would take minutes to say so.
    if _arguments(step) > usable_nbytes(found):
        return DoesNotFit(None, None)
    return compile_for_tpu(step.lowered, found)


def _arguments(step: "LoweredTrainStep") -> int:
    from kit.evidence.train_step import nbytes_by_group

    return sum(nbytes_by_group(step).values())


def _raise_too_many(
    kind: str,
    limits: Mapping[str, tuple[int, bool]],
    by_kind: Mapping[str, tuple[int, int]],
    operations: "list[Instruction]",
    step: "LoweredTrainStep",
) -> None:
    count, nbytes = by_kind[kind]
    most, in_bytes = limits[kind]
    what = "collective" if kind == ALL else kind
    has = f"{count} {what}{'s' if count != 1 else ''} of {format_bytes(nbytes)} per device"
    allowed = f"{format_bytes(most)} are allowed" if in_bytes else f"{most} {'is' if most == 1 else 'are'} allowed"
    groups: dict[tuple[str, str, str], list[Instruction]] = {}
    for one in operations:
        groups.setdefault((str(one.kind), _origin(one), _gathered(one, step)), []).append(one)
    rows = sorted(groups.items(), key=lambda item: -sum(one.nbytes for one in item[1]))
    gathered = [key[2] for key, _ in rows if key[2]]
    raise Failed(
        "STEP_TOO_MANY_COLLECTIVES",
        f"The training step has {has}, and at most {allowed}"
        + (f": sharded weights are gathered, first {gathered[0]}." if gathered else "."),
        ("kind", "in", "number", "bytes", "gathers the weight"),
        limited(
            [
                (key[0], key[1] or "unknown", len(ones), format_bytes(sum(one.nbytes for one in ones)), key[2])
                for key, ones in rows
            ]
        ),
        "Shard these weights over another dimension, so that each device computes with its own slice."
        if gathered
        else "Compare the rules of the layers in the table with those before and after: shard what they exchange over "
        "the same axis.",
    )


def _origin(operation: "Instruction") -> str:
    """The scopes of an operation, with ``*`` for numbers."""
    parts = [one for one in operation.op_name.split("/") if not one.startswith(("jit(", "jvp(", "transpose("))]
    return re.sub(r"\d+", "*", "/".join(parts[-3:]))


def _gathered(operation: "Instruction", step: "LoweredTrainStep") -> str:
    """The path of a sharded weight of which an all-gather makes the whole; empty otherwise."""
    if operation.kind != "all-gather":
        return ""
    shapes = [shape for _, shape in operation.arrays]
    for one in step.variables:
        is_sharded_matrix = one.shard_nbytes < one.nbytes and len(one.shape) > 1
        if is_sharded_matrix and one.group in ("trainable", "non_trainable") and one.shape in shapes:
            return re.sub(r"\d+", "*", one.path)
    return ""


@raises_check_failed
def check_memory(
    model: "keras.Model",
    batch: Any,
    layout_map: "keras.distribution.LayoutMap",
    topology: str = "v5e-8",
    at_most: str | None = None,
) -> int:
    """Check the most memory that the training step uses on a device of a TPU slice.

    The TPU compiler compiles the step that ``fit`` would run; you need no TPU, but libtpu. The
    model does not change, and its weights need no values: a backbone that is built in
    ``kit.models.weightless.no_weights`` can be of any size.

    It costs one compilation: seconds for a small model, half a minute and 4 GB for one of 7B.

    Args:
        model: Built, or to be called on the batch; compiled.
        batch: What ``model.train_on_batch`` takes.
        layout_map: With a device mesh of as many devices as the topology has.
        topology: See docs/topologies.md.
        at_most: Such as "14GB" (powers of 1000) or "14GiB". By default what a program may use.

    Returns:
        Bytes at the peak.

    Raises:
        CheckFailed: NOTHING_TO_CHECK, a mistake in the layout map (LAYOUT_…),
            STEP_NEEDS_TOO_MUCH_MEMORY.
    """
    from kit.tpu.compiler import usable_nbytes

    limit = None if at_most is None else parse_bytes(at_most)
    step = _lowered(model, batch, layout_map, topology)
    program = _compiled_for(step, topology)
    fitting = _fitting(program, step, topology)
    peak = fitting.arguments + fitting.temporaries + fitting.code + max(fitting.results - fitting.aliased, 0)
    if limit is None:
        limit = usable_nbytes(_topology(topology))
    if peak > limit:
        _raise_too_much(peak, limit, step, topology)
    return peak


def _fitting(program: "TpuProgram | DoesNotFit", step: "LoweredTrainStep", topology: str) -> "TpuProgram":
    """The program; raises ``Failed`` if the compiler refuses it."""
    from kit.tpu.compiler import DoesNotFit, usable_nbytes

    if not isinstance(program, DoesNotFit):
        return program
    usable = program.usable or usable_nbytes(_topology(topology))
    _raise_too_much(program.needed or _arguments(step), usable, step, topology, program.needed is not None)
    raise AssertionError("unreachable")


def _raise_too_much(peak: int, limit: int, step: "LoweredTrainStep", topology: str, compiled: bool = True) -> None:
    """Name what a device holds, and the remedy for what causes the excess."""
    from kit.evidence.train_step import nbytes_by_group

    groups = nbytes_by_group(step)
    arguments = sum(groups.values())
    devices = _topology(topology).devices
    excess = peak - limit
    whole = [one for one in step.variables if one.shard_nbytes == one.nbytes and len(one.shape) > 1]
    replicated = sum(one.nbytes for one in whole)
    others = peak - arguments
    if replicated * (devices - 1) / devices >= excess:
        sharded = format_bytes(replicated / devices)
        cause = f"{format_bytes(replicated)} of it is replicated, and sharded it would be {sharded}"
        remedy = "Shard the replicated matrices in the table: add or widen rules of the layout map."
    elif others >= excess:
        cause = f"{format_bytes(others)} of it is temporary, such as activations"
        remedy = "Take fewer or shorter examples, or recompute activations (keras.RematScope)."
    elif groups["optimizer"] >= excess:
        cause = f"{format_bytes(groups['optimizer'])} of it is the optimizer's state"
        remedy = "Train fewer variables (LoRA), or use an optimizer with fewer moments."
    else:
        cause = f"its arguments are {format_bytes(arguments)}, and no single part of it is the excess"
        remedy = "Shard over more devices, keep the weights in bfloat16, or train fewer variables (LoRA)."
    rows: list[Row] = [(name, format_bytes(size), "") for name, size in groups.items()]
    rows.append(("temporaries and program", format_bytes(others) if compiled else "unknown", ""))
    rows += [(one.label, format_bytes(one.nbytes), f"replicated, {one.count} of them") for one in grouped(whole)[:8]]
    raise Failed(
        "STEP_NEEDS_TOO_MUCH_MEMORY",
        f"On a device of {topology}, the training step needs {'' if compiled else 'at least '}{format_bytes(peak)}, "
        f"{format_bytes(excess)} more than the {format_bytes(limit)} that it may: {cause}.",
        ("held on a device", "bytes", ""),
        limited(rows),
        remedy,
    )
