"""Layouts for models whose heads the model axis does not divide: enumerated, compiled, and the one chosen that sends least.

Keras' rules split a kernel by heads. A model with grouped or multi-query attention has fewer key and value heads than the
axis has devices, and a small one fewer query heads too; what then goes along another dimension, or is held whole, is a
question to the compiler.
"""

import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kit.models.known_layouts import LAYOUTS_FILE, Layout, layout_map_function
from kit.models.weightless import weightless_variables
from kit.tpu.compiler import libtpu_version
from kit.tpu.plan import Plan, make_plan
from kit.tpu.step import StepParts, StepSettings
from kit.tpu.topologies import Topology

#: Decoder blocks that are compiled: the first, whose inputs are embeddings, and one that stands for the others.
LAYERS = 2

#: Kernels that have heads, by what is chosen for them together, and where heads, hidden and head dimension stand.
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

WHOLE = "whole"


@dataclass(frozen=True)
class Candidate:
    """One layout of those that there are."""

    #: For each group of kernels: "heads", "hidden", "head dimension" or "whole".
    choice: Mapping[str, str]
    layout: Layout


def candidates(config: Mapping[str, Any], model_axis: int) -> Iterator[Candidate]:
    """All layouts that split heads where the axis divides them, and elsewhere another dimension or none.

    Args:
        config: The content of a preset's ``config.json``.
        model_axis: Devices of the mesh's model axis.

    """
    shapes = {
        variable.path.split("/")[-2]: variable.shape
        for variable in weightless_variables(config, num_layers=1)
        if variable.path.startswith("decoder_block_0/attention/") and variable.path.endswith("/kernel")
    }
    options = []
    for kernels, dimensions in _HEADED.values():
        divided = [
            name
            for position, name in enumerate(dimensions)
            if all(shapes[kernel][position] % model_axis == 0 for kernel in kernels)
        ]
        options.append(["heads"] if "heads" in divided else [WHOLE, *divided])
    for chosen in itertools.product(*options):
        choice = dict(zip(_HEADED, chosen, strict=True))
        layout = dict(_OTHERS)
        for name, (kernels, dimensions) in _HEADED.items():
            spec = tuple("model" if dimension == choice[name] else None for dimension in dimensions)
            for kernel in kernels:
                layout[f"decoder_block_N/attention/{kernel}/kernel"] = spec
        yield Candidate(choice, layout)


def needs_a_search(config: Mapping[str, Any], model_axis: int) -> bool:
    """Whether the tutorial's layout cannot be used, since the axis does not divide the heads."""
    sizes = config["config"]
    return any(sizes[name] % model_axis for name in ("num_query_heads", "num_key_value_heads"))


def search(
    config: Mapping[str, Any],
    topology: Topology,
    mesh: tuple[int, int],
    parts: StepParts,
    told: Callable[[str], None],
) -> dict[str, Any]:
    """Compile all candidates with LoRA of rank 4, and choose the one that sends the fewest bytes, then holds the fewest.

    Args:
        config: The content of a preset's ``config.json``.
        topology: Of as many devices as the mesh.
        mesh: Sizes of the axes "batch" and "model".
        parts: Whose LoRA and training are used.
        told: Is told what was found.

    Returns:
        ``choice``, ``layout`` and ``enumerated``, as they stand in ``layouts.json``.

    """
    settings = StepSettings(mesh, batch_size=math.lcm(2, mesh[0]))
    found = []
    for candidate in candidates(config, mesh[1]):
        mine = StepParts(layout_map_function(candidate.layout), parts.enable_lora, parts.compile_for_finetuning)
        plan = make_plan(config, topology, settings, mine, (LAYERS,))
        found.append((candidate, plan))
        told(f"{_named(candidate)}: {_sent(plan):,} bytes sent, {plan.arguments:,} held")
    best = min(found, key=lambda pair: (_sent(pair[1]), pair[1].arguments))[0]
    return {
        "choice": dict(best.choice),
        "layout": {path: list(spec) for path, spec in best.layout.items()},
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
    """The entry of a model whose heads the axis divides: the tutorial's layout, which is the only candidate."""
    (candidate,) = candidates(config, mesh[1])
    return {
        "choice": dict(candidate.choice),
        "layout": {path: list(spec) for path, spec in candidate.layout.items()},
        "enumerated": [],
    }


def keep(preset: str, mesh: tuple[int, int], topology: Topology, found: Mapping[str, Any]) -> None:
    """Write what was found into ``layouts.json``, beside what is there."""
    content = json.loads(LAYOUTS_FILE.read_text()) if LAYOUTS_FILE.is_file() else {}
    content[preset] = content.get(preset, {}) | {
        f"{mesh[0]}x{mesh[1]}": {"topology": topology.name, "libtpu": libtpu_version(), "layers": LAYERS, **found}
    }
    text = json.dumps({name: dict(sorted(content[name].items())) for name in sorted(content)}, indent=1)
    LAYOUTS_FILE.write_text(text + "\n")


def _sent(plan: Plan) -> int:
    return sum(nbytes for _, nbytes in plan.by_kind().values())


def _named(candidate: Candidate) -> str:
    return ", ".join(f"{name} {choice}" for name, choice in candidate.choice.items())
