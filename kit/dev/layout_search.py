"""Compiles and compares layouts for models whose heads the model axis does not divide.

The tutorial's rules shard a kernel by heads. A model with grouped-query or multi-query attention
has fewer key and value heads than the axis has devices, and a small model fewer query heads too.
Such a kernel is sharded along another dimension or replicated; the compiler shows which layout
sends the fewest bytes.
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
from kit.models.known_layouts import LAYOUTS_FILE, Layout, layout_map_function
from kit.models.weightless import weightless_variables
from kit.parts.implementation import REFERENCE, find_parts
from kit.tpu.compiler import libtpu_version
from kit.tpu.plan import Plan, make_plan
from kit.tpu.step import StepParts, StepSettings
from kit.tpu.topologies import Topology

#: Number of decoder blocks to compile: the first, whose inputs are embeddings, and one that
#: represents the others.
LAYERS = 2

#: Groups of kernels with heads, which share one choice, and the order of their dimensions.
_HEADED = {
    "query": (("query",), ("heads", "hidden", "head dimension")),
    "key and value": (("key", "value"), ("heads", "hidden", "head dimension")),
    "attention output": (("attention_output",), ("heads", "head dimension", "hidden")),
}

#: What the tutorial's layout does with all other matrices.
_OTHERS: Layout = {
    "token_embedding/embeddings": ("model", None),
    "decoder_block_N/ffw_gating/kernel": (None, "model"),
    "decoder_block_N/ffw_gating_2/kernel": (None, "model"),
    "decoder_block_N/ffw_linear/kernel": ("model", None),
}

#: Topologies with one host, and the meshes that layouts are searched for on each.
SEARCHED: Mapping[str, tuple[tuple[int, int], ...]] = {"v3-8": ((1, 8), (2, 4), (4, 2)), "v5e-4": ((1, 4), (2, 2))}

#: Choice for a group of kernels that is replicated; the word that ``layouts.json`` has.
WHOLE = "whole"


@dataclass(frozen=True)
class Candidate:
    """One of the possible layouts."""

    #: For each group of kernels: "heads", "hidden", "head dimension" or "whole".
    choice: Mapping[str, str]
    layout: Layout

    def as_json(self) -> dict[str, Any]:
        """Choice and layout, as ``layouts.json`` has them."""
        return {"choice": dict(self.choice), "layout": {path: list(spec) for path, spec in self.layout.items()}}


def candidates(config: Mapping[str, Any], model_axis: int) -> Iterator[Candidate]:
    """All layouts that shard heads where the axis divides them, else another dimension or none.

    ``config`` is the content of a preset's ``config.json``.
    """
    shapes = {
        variable.path.split("/")[-2]: variable.shape
        for variable in weightless_variables(config, num_layers=1)
        if variable.path.startswith("decoder_block_0/attention/") and variable.path.endswith("/kernel")
    }
    options = []
    for kernels, dimensions in _HEADED.values():
        sizes = dict(zip(dimensions, zip(*(shapes[kernel] for kernel in kernels), strict=True), strict=True))
        divided = [name for name, of_kernels in sizes.items() if not any(size % model_axis for size in of_kernels)]
        options.append(["heads"] if "heads" in divided else [WHOLE, *divided])
    for chosen in itertools.product(*options):
        choice = dict(zip(_HEADED, chosen, strict=True))
        layout = dict(_OTHERS)
        for name, (kernels, dimensions) in _HEADED.items():
            spec = tuple("model" if dimension == choice[name] else None for dimension in dimensions)
            for kernel in kernels:
                layout[f"decoder_block_N/attention/{kernel}/kernel"] = spec
        yield Candidate(choice, layout)


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
            if needs_a_search(config, mesh[1]):
                report(f"{preset} on {topology.name}, mesh {mesh[0]}x{mesh[1]}")
                found = search(config, topology, mesh, parts, lambda text: report(f"    {text}"))
                keep(preset, mesh, topology, found)
                report(f"    chosen: {found['choice']}")
            else:
                keep(preset, mesh, topology, tutorial_entry(config, mesh))


def needs_a_search(config: Mapping[str, Any], model_axis: int) -> bool:
    """Whether the tutorial's layout cannot be used because the axis does not divide the heads."""
    sizes = config["config"]
    return any(sizes[name] % model_axis for name in ("num_query_heads", "num_key_value_heads"))


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
    found = []
    for candidate in candidates(config, mesh[1]):
        mine = StepParts(layout_map_function(candidate.layout), parts.enable_lora, parts.compile_for_finetuning)
        plan = make_plan(config, topology, settings, mine, (LAYERS,))
        found.append((candidate, plan))
        named = ", ".join(f"{name} {choice}" for name, choice in candidate.choice.items())
        report(f"{named}: collectives {_sent(plan):,} bytes, arguments {plan.arguments:,} bytes")
    best = min(found, key=lambda pair: (_sent(pair[1]), pair[1].arguments))[0]
    return {
        **best.as_json(),
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
    """The entry of a model whose heads the axis divides: the tutorial's layout."""
    (candidate,) = candidates(config, mesh[1])
    return {**candidate.as_json(), "enumerated": []}


def keep(preset: str, mesh: tuple[int, int], topology: Topology, found: Mapping[str, Any]) -> None:
    """Write an entry to ``layouts.json``, and keep all others."""
    content = json.loads(LAYOUTS_FILE.read_text()) if LAYOUTS_FILE.is_file() else {}
    content[preset] = content.get(preset, {}) | {
        f"{mesh[0]}x{mesh[1]}": {"topology": topology.name, "libtpu": libtpu_version(), "layers": LAYERS, **found}
    }
    text = json.dumps({name: dict(sorted(content[name].items())) for name in sorted(content)}, indent=1)
    LAYOUTS_FILE.write_text(text + "\n")


def _sent(plan: Plan) -> int:
    return sum(nbytes for _, nbytes in plan.by_kind().values())
