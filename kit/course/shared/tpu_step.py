"""The layer ``tpu_compile``: steps of Gemma 7B on a v3-8, and the figures of a right step."""

import dataclasses
import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import keras_hub

from kit.course.shared import small_models, tensor_parallel
from kit.formatting import format_bytes
from kit.models.architectures import GEMMA_7B
from kit.tpu.compiler import libtpu_version, topology_devices
from kit.tpu.plan import Plan, count_arguments, make_plan
from kit.tpu.step import StepParts, StepSettings, lower_step
from kit.tpu.topologies import find_topology

TOPOLOGY = "v3-8"
#: Decoder blocks that are compiled: the first, whose backward pass needs less, and one that
#: represents all others.
LAYERS = 2
GOLDEN_FILE = Path(__file__).parent / "golden_tpu.json"
#: LoRA as in the tutorial, and training of all parameters.
RANKS = {"lora": 4, "full": 0}


@dataclasses.dataclass(frozen=True)
class Golden:
    """The bytes of a right step on one device, from one version of the compiler."""

    arguments: int
    temporaries: int
    #: Bytes of the results of collectives, by kind of layer.
    sent: dict[str, int]


def right_parts() -> StepParts:
    """Tensor parallelism by exact paths, LoRA on query and value, AdamW. Not the reference's."""
    return StepParts(_layout_map, _enable_lora, _compile)


def plan(parts: StepParts, rank: int) -> Plan:
    """Plan a step of :data:`LAYERS` blocks of Gemma 7B on a v3-8, with the tutorial's batch.

    Raises UserError if libtpu is not installed, or if the layout map cannot be used.
    """
    topology = find_topology(TOPOLOGY)
    return make_plan(GEMMA_7B, topology, StepSettings((1, topology.devices), rank=rank), parts, (LAYERS,))


def nbytes_with_all_blocks(parts: StepParts, few: Plan) -> int:
    """The bytes on a device with all blocks: counted arguments, plus the temporaries of few."""
    topology = find_topology(TOPOLOGY)
    whole = lower_step(GEMMA_7B, few.settings, parts, topology_devices(topology), None)
    return count_arguments(whole) + few.temporaries


def golden(rank: int) -> Golden:
    """The figures of a right step for the installed compiler, from the file or compiled now."""
    name = next(name for name, value in RANKS.items() if value == rank)
    entry = json.loads(GOLDEN_FILE.read_text()).get(libtpu_version(), {}).get(name)
    return Golden(**entry) if entry else measure(rank)


def measure(rank: int) -> Golden:
    """Compile a right step."""
    right = plan(right_parts(), rank)
    return Golden(right.arguments, right.temporaries, sent_by_layer(right))


def sent_by_layer(made: Plan) -> dict[str, int]:
    """Bytes of the results of collectives, by kind of layer."""
    found: dict[str, int] = defaultdict(int)
    for cause in made.causes or ():
        found[cause.layer_kind or "not traced"] += cause.nbytes
    return dict(found)


def sent_rows(made: Plan, right: Golden) -> list[tuple[str, str, str, str]]:
    """Each kind of layer that sends too much: its rule, what it sends, and what is needed."""
    mine = sent_by_layer(made)
    rules: dict[str, str] = {}
    for cause in made.causes or ():
        rules.setdefault(cause.layer_kind or "not traced", str(cause.rule or "no rule"))
    more = sorted((kind for kind in mine if mine[kind] > 1.01 * right.sent.get(kind, 0)), key=lambda kind: -mine[kind])
    return [(kind, rules[kind], format_bytes(mine[kind]), format_bytes(right.sent.get(kind, 0))) for kind in more[:8]]


def write_golden() -> dict[str, Any]:
    """Write the figures for the installed compiler to the file, and return them."""
    content = json.loads(GOLDEN_FILE.read_text()) if GOLDEN_FILE.is_file() else {}
    found = {name: dataclasses.asdict(measure(rank)) for name, rank in RANKS.items()}
    GOLDEN_FILE.write_text(json.dumps(dict(sorted((content | {libtpu_version(): found}).items())), indent=1) + "\n")
    return found


def _layout_map(device_mesh: keras.distribution.DeviceMesh) -> keras.distribution.LayoutMap:
    return tensor_parallel.tensor_parallel_map(
        device_mesh, tensor_parallel.split_paths(GEMMA_7B["config"]["num_layers"])
    )


def _enable_lora(model: keras_hub.models.CausalLM, rank: int) -> None:
    model.backbone.enable_lora(rank, target_layer_names=["query", "value"])


def _compile(model: keras_hub.models.CausalLM, learning_rate: float, weight_decay: float) -> None:
    # The optimizer is built later, in the scope in which no variable is allocated.
    small_models.compile_model(model, learning_rate, weight_decay, built=False)


def with_step(make_train_step: Callable[..., Any]) -> StepParts:
    """The right parts, with a hand-written step."""
    return dataclasses.replace(right_parts(), make_train_step=make_train_step)
