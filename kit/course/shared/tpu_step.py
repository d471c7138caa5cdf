"""What the checks of the layer ``tpu_compile`` share: Gemma 7B on a v3-8, and the numbers of the right layout and step."""

import dataclasses
import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import keras_hub

from kit.course.shared import tensor_parallel as oracle
from kit.course.shared import small_models as small
from kit.models.architectures import GEMMA_7B
from kit.narrator import as_bytes
from kit.tpu.compiler import libtpu_version, topology_devices
from kit.tpu.plan import Plan, count_arguments, make_plan
from kit.tpu.step import StepParts, StepSettings, lower_step
from kit.tpu.topologies import find_topology

TOPOLOGY = "v3-8"
#: Decoder blocks that are compiled: the first, which needs less on the way back, and one that stands for the others.
LAYERS = 2
GOLDEN_FILE = Path(__file__).parent / "golden_tpu.json"
#: As the tutorial tunes, and all parameters.
RANKS = {"lora": 4, "full": 0}


@dataclasses.dataclass(frozen=True)
class Golden:
    """What the right layout and step need, in bytes on one device, by one version of the compiler."""

    arguments: int
    temporaries: int
    #: Bytes of collectives' results, by kind of layer.
    sent: dict[str, int]


def right_parts() -> StepParts:
    """Tensor parallelism by exact paths, LoRA on query and value, AdamW: no part of the reference."""
    return StepParts(_layout_map, _enable_lora, _compile)


def plan(parts: StepParts, rank: int) -> Plan:
    """Plan :data:`LAYERS` blocks of Gemma 7B on a v3-8 with the tutorial's batch.

    Raises:
        UserError: if libtpu is not there, or if the layout map cannot be used.

    """
    topology = find_topology(TOPOLOGY)
    return make_plan(GEMMA_7B, topology, StepSettings((1, topology.devices), rank=rank), parts, (LAYERS,))


def all_blocks(parts: StepParts, few: Plan) -> int:
    """Bytes of arguments that a device holds with all blocks, counted, and the temporaries of a few."""
    topology = find_topology(TOPOLOGY)
    whole = lower_step(GEMMA_7B, few.settings, parts, topology_devices(topology), None)
    return count_arguments(whole) + few.temporaries


def golden(rank: int) -> Golden:
    """The numbers of the right step by the compiler that is installed: as they were written down, or found now."""
    name = next(name for name, value in RANKS.items() if value == rank)
    entry = json.loads(GOLDEN_FILE.read_text()).get(libtpu_version(), {}).get(name)
    return Golden(**entry) if entry else measure(rank)


def measure(rank: int) -> Golden:
    """Compile the right step."""
    right = plan(right_parts(), rank)
    return Golden(right.arguments, right.temporaries, sent_by_layer(right))


def sent_by_layer(made: Plan) -> dict[str, int]:
    """Bytes of collectives' results by kind of layer."""
    found: dict[str, int] = defaultdict(int)
    for cause in made.causes or ():
        found[cause.layer_kind or "not traced"] += cause.nbytes
    return dict(found)


def sent_rows(made: Plan, right: Golden) -> list[tuple[str, str, str, str]]:
    """For each kind of layer that sends more than it needs to: its rule, what it sends, and what it needs to send."""
    mine = sent_by_layer(made)
    rules: dict[str, str] = {}
    for cause in made.causes or ():
        rules.setdefault(cause.layer_kind or "not traced", str(cause.rule or "no rule"))
    more = sorted((kind for kind in mine if mine[kind] > 1.01 * right.sent.get(kind, 0)), key=lambda kind: -mine[kind])
    return [(kind, rules[kind], as_bytes(mine[kind]), as_bytes(right.sent.get(kind, 0))) for kind in more[:8]]


def write_golden() -> dict[str, Any]:
    """Write the numbers of the compiler that is installed beside those of others; gives them."""
    content = json.loads(GOLDEN_FILE.read_text()) if GOLDEN_FILE.is_file() else {}
    found = {name: dataclasses.asdict(measure(rank)) for name, rank in RANKS.items()}
    GOLDEN_FILE.write_text(json.dumps(dict(sorted((content | {libtpu_version(): found}).items())), indent=1) + "\n")
    return found


def _layout_map(device_mesh: keras.distribution.DeviceMesh) -> keras.distribution.LayoutMap:
    return oracle.tensor_parallel_map(device_mesh, oracle.split_paths(GEMMA_7B["config"]["num_layers"]))


def _enable_lora(model: keras_hub.models.CausalLM, rank: int) -> None:
    model.backbone.enable_lora(rank, target_layer_names=["query", "value"])


def _compile(model: keras_hub.models.CausalLM, learning_rate: float, weight_decay: float) -> None:
    # Built later, within the scope in which no moment is given memory.
    small.compile_model(model, learning_rate, weight_decay, built=False)


def with_step(make_train_step: Callable[..., Any]) -> StepParts:
    """The right parts around a step by hand."""
    return dataclasses.replace(right_parts(), make_train_step=make_train_step)
