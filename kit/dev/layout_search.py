"""Compiles and compares layouts for models that the tutorial's layout does not fit.

The tutorial's rules shard a kernel by heads. A model with grouped-query or multi-query attention
has fewer key and value heads than the axis has devices, and a small model fewer query heads too.
Such a kernel is sharded along another dimension or replicated; the compiler shows which layout
sends the fewest bytes. So it does for experts and per-layer embeddings, which the tutorial does not
know.
"""

import itertools
import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kit.models.architectures import ARCHITECTURES, find_architecture
from kit.models.blocks import block_kinds, with_blocks
from kit.models.known_layouts import (
    ATTENTION,
    GROUPS,
    LAYOUTS_FILE,
    Layout,
    Matrix,
    choose_by_rule,
    known_layouts,
    layout_map_function,
    layout_of,
    matrices,
    possible_choices,
    tutorial_misfits,
)
from kit.parts.implementation import REFERENCE, find_parts
from kit.tpu.compiler import libtpu_version
from kit.tpu.plan import Plan, make_plan
from kit.tpu.step import StepParts, StepSettings
from kit.tpu.topologies import Topology

#: Topologies with one host, and the meshes that layouts are searched for on each.
SEARCHED: Mapping[str, tuple[tuple[int, int], ...]] = {"v3-8": ((1, 8), (2, 4), (4, 2)), "v5e-4": ((1, 4), (2, 2))}


@dataclass(frozen=True)
class Candidate:
    """One of the possible layouts."""

    #: For each group of matrices: the dimension to split, such as "heads", or "whole".
    choice: Mapping[str, str]
    layout: Layout

    def as_json(self) -> dict[str, Any]:
        """Choice and layout, as ``layouts.json`` has them."""
        return {"choice": dict(self.choice), "layout": {path: list(spec) for path, spec in self.layout.items()}}


def shortest(config: Mapping[str, Any]) -> dict[str, Any]:
    """The model that is compiled: the fewest blocks that stand for all.

    These are one block of each kind, and at least two: the first, whose inputs are embeddings, and
    one that represents the others.
    """
    kinds = [*dict.fromkeys(block_kinds(config))]
    return with_blocks(config, kinds if len(kinds) > 1 else kinds * 2)


def candidates(members: Sequence[Matrix], model_axis: int) -> Iterator[Candidate]:
    """All layouts that shard heads where the axis divides them, else another dimension or none."""
    default = choose_by_rule(members, model_axis)
    fixed = {group: name for group, name in default.items() if not GROUPS[group].in_tutorial}
    possible = possible_choices(members, model_axis)
    for chosen in itertools.product(*(possible[group] for group in ATTENTION)):
        yield _candidate(members, model_axis, {**dict(zip(ATTENTION, chosen, strict=True)), **fixed})


def variants(members: Sequence[Matrix], model_axis: int, best: Mapping[str, str]) -> Iterator[Candidate]:
    """The other ways to split each group that the tutorial does not know, experts for example.

    Replicated, they would send nothing and leave most of the weights on every device.
    """
    for group in best:
        if GROUPS[group].in_tutorial:
            continue
        sizes = [matrix.sizes for matrix in members if matrix.group == group]
        for name in sizes[0]:
            if name != best[group] and not any(size[name] % model_axis for size in sizes):
                yield _candidate(members, model_axis, {**best, group: name})


def _candidate(members: Sequence[Matrix], model_axis: int, choice: Mapping[str, str]) -> Candidate:
    return Candidate(choice, layout_of(members, model_axis, choice))


def run_in_processes(presets: Sequence[str]) -> None:
    """Search on each topology in its own process: a process simulates one number of devices."""
    for topology in SEARCHED:
        subprocess.run([sys.argv[0], "dev", "layouts", *presets, "--topology", topology], check=True)


def search_presets(presets: Sequence[str], topology: Topology, report: Callable[[str], None]) -> None:
    """Search layouts of presets, by default of all, on the meshes of a topology of ``SEARCHED``.

    They are written to ``layouts.json``.
    """
    reference = find_parts(REFERENCE)
    layout_map, enable_lora = reference.layout.gemma_layout_map, reference.lora.enable_lora
    parts = StepParts(layout_map, enable_lora, reference.training.compile_for_finetuning)
    for preset in presets or ARCHITECTURES:
        config = find_architecture(preset)
        for mesh in SEARCHED[topology.name]:
            if tutorial_misfits(matrices(config), mesh[1]):
                report(f"{preset} on {topology.name}, mesh {mesh[0]}x{mesh[1]}")
                found = search(config, topology, mesh, parts, lambda text: report(f"    {text}"))
                keep(preset, mesh, topology, found)
                report(f"    chosen: {found['choice']}")
            else:
                keep(preset, mesh, topology, tutorial_entry(config, mesh))


def search(
    config: Mapping[str, Any],
    topology: Topology,
    mesh: tuple[int, int],
    parts: StepParts,
    report: Callable[[str], None],
) -> dict[str, Any]:
    """Compile all candidates with LoRA of rank 4, and choose the one with the fewest bytes.

    Collective bytes count first, then argument bytes. ``config`` is the content of a preset's
    ``config.json``. Returns ``choice``, ``layout`` and ``enumerated``, as ``layouts.json`` has
    them.
    """
    settings = StepSettings(mesh, batch_size=math.lcm(2, mesh[0]))
    members, short = matrices(config), shortest(config)

    def compiled(candidate: Candidate) -> tuple[Candidate, Plan]:
        make = layout_map_function(candidate.layout, short)
        plan = make_plan(short, topology, settings, StepParts(make, parts.enable_lora, parts.compile_for_finetuning))
        named = ", ".join(f"{name} {choice}" for name, choice in candidate.choice.items())
        report(f"{named}: collectives {_sent(plan):,} bytes, arguments {plan.arguments:,} bytes")
        return candidate, plan

    found = [compiled(candidate) for candidate in candidates(members, mesh[1])]
    best = min(found, key=_cost)
    found += [compiled(candidate) for candidate in variants(members, mesh[1], best[0].choice)]
    best = min(found, key=_cost)
    return {
        **best[0].as_json(),
        "enumerated": [
            {
                **candidate.choice,
                "collective_bytes": _sent(plan),
                "collectives": {kind: count for kind, (count, _) in plan.by_kind().items()},
                "argument_bytes": plan.arguments,
            }
            for candidate, plan in found
        ],
    }


def tutorial_entry(config: Mapping[str, Any], mesh: tuple[int, int]) -> dict[str, Any]:
    """The entry of a model that the tutorial's layout fits."""
    (candidate,) = candidates(matrices(config), mesh[1])
    return {**candidate.as_json(), "enumerated": []}


def keep(preset: str, mesh: tuple[int, int], topology: Topology, found: Mapping[str, Any]) -> None:
    """Write an entry to ``layouts.json``, and keep all others."""
    content, layers = known_layouts(), shortest(find_architecture(preset))["config"]["num_layers"]
    content[preset] = content.get(preset, {}) | {
        f"{mesh[0]}x{mesh[1]}": {"topology": topology.name, "libtpu": libtpu_version(), "layers": layers, **found}
    }
    text = json.dumps({name: dict(sorted(content[name].items())) for name in sorted(content)}, indent=1)
    LAYOUTS_FILE.write_text(text + "\n")


def _sent(plan: Plan) -> int:
    return sum(nbytes for _, nbytes in plan.by_kind().values())


def _cost(pair: tuple[Candidate, Plan]) -> tuple[int, int]:
    return _sent(pair[1]), pair[1].arguments
