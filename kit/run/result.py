"""What a run found, as ``run.json`` has it: written and read here. Imports no framework.

Fields that older versions of the kit did not write are None by default.
"""

import itertools
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from kit.files import write_json
from kit.models.settings import DTYPES, FinetuningSettings
from kit.run.json_records import as_json, faults_in_one_sentence, from_json
from kit.run.training_evidence import TrainingEvidence

RESULT_FILE = "run.json"

#: The mesh axes that one dimension is split over; None: it is not split.
SpecEntry = str | tuple[str, ...] | None
Spec = tuple[SpecEntry, ...]


@dataclass(frozen=True, kw_only=True)
class RunInputs:
    """What a run is started with."""

    preset: str
    #: "reference", "exercises" or a folder.
    implementation: str
    #: Whether functions with open tasks come from the reference.
    filled: bool | None = None
    #: The folder that relative paths in the settings are relative to.
    working_folder: str | None = None
    #: Whether the words of each review are shuffled.
    control: bool
    settings: FinetuningSettings
    #: Whether a GPU computes the same in each process; None: written by an older version.
    deterministic: bool | None = None
    #: Of Python and of the packages that the numbers depend on.
    versions: dict[str, str]
    started: datetime


@dataclass(frozen=True)
class Devices:
    """The devices of a run."""

    platform: str
    kind: str
    count: int


@dataclass(frozen=True)
class RuleCount:
    """A rule of the layout map, and what it matches."""

    pattern: str = field(metadata={"key": "rule"})
    spec: Spec
    #: How many variables it matches, and their bytes, each variable counted once.
    variables: int
    nbytes: int = field(metadata={"key": "bytes"})


@dataclass(frozen=True)
class ReplicatedVariable:
    """A variable that each device holds whole."""

    path: str
    nbytes: int = field(metadata={"key": "bytes"})


@dataclass(frozen=True)
class LoadedBytes:
    """Bytes of the backbone without adapters: of all variables, and on each device."""

    nbytes: int = field(metadata={"key": "bytes"})
    nbytes_per_device: int = field(metadata={"key": "bytes_per_device"})


@dataclass(frozen=True, kw_only=True)
class CoverageCount:
    """What the rules match in the model with its adapters."""

    rules: tuple[RuleCount, ...]
    #: Paths of the variables that no rule matches, and their bytes.
    unmatched: tuple[str, ...]
    nbytes_unmatched: int = field(metadata={"key": "unmatched_bytes"})
    replicated: tuple[ReplicatedVariable, ...] | None = None
    nbytes: int = field(metadata={"key": "bytes"})
    nbytes_per_device: int = field(metadata={"key": "bytes_per_device"})
    loaded: LoadedBytes | None = None


class ShardingRow(NamedTuple):
    """A variable and how it is sharded."""

    path: str
    shape: tuple[int, ...]
    spec: Spec


@dataclass(frozen=True)
class ParameterCount:
    """Elements that are trainable, and all."""

    trainable: int
    total: int


@dataclass(frozen=True)
class Parameters:
    """The parameters of the loaded model, and of the model that is trained."""

    before: ParameterCount
    tuned: ParameterCount


@dataclass(frozen=True)
class OptimizerFacts:
    """The optimizer's class, and how many variables have weight decay."""

    name: str = field(metadata={"key": "class"})
    decayed_variables: int


@dataclass(frozen=True)
class Checksums:
    """Checksums of what must be unchanged when a run resumes."""

    batches: str
    weights: str


@dataclass(frozen=True)
class TrainingSummary:
    """The training in a few numbers."""

    steps: int
    seconds: float
    #: After the first step, which includes compilation.
    milliseconds_per_step: float
    #: Mean losses of the first and the last third of the steps: the loss differs more from batch to
    #: batch than training changes it.
    first_loss: float
    last_loss: float
    #: Of the last epoch.
    mean_loss: float
    mean_accuracy: float | None


@dataclass(frozen=True)
class LogLikelihoods:
    """Mean log-likelihoods of held-out texts, in nats per token."""

    reviews: float
    lists: float


@dataclass(frozen=True)
class StyleScores:
    """The style of what a model writes."""

    #: Shares of the prompts' completions.
    share_of_lists: float
    share_of_reviews: float
    log_likelihood: LogLikelihoods
    #: Of completions that are neither, since they are empty or mostly repetition.
    share_of_degenerate: float | None = None
    #: Of completions that have six words in a row twice, whatever their style.
    share_of_repetitive: float | None = None

    @property
    def share_of_neither(self) -> float:
        """Share of completions that are neither lists nor reviews."""
        # The sum of both shares may be 1 + 2e-16.
        return max(0.0, 1 - self.share_of_lists - self.share_of_reviews)


@dataclass(frozen=True)
class StyleGain:
    """Gains in log-likelihood, in nats per token, and their difference."""

    reviews: float
    lists: float
    shift: float


@dataclass(frozen=True)
class StyleShift:
    """The style before and after, and whether it has shifted to reviews."""

    before: StyleScores
    after: StyleScores
    gain: StyleGain = field(metadata={"key": "shift"})
    shifted: bool
    #: Of the completions.
    share_without_copies: float


@dataclass(frozen=True)
class PromptCompletions:
    """The run's own prompt, and its completions with the prompt."""

    prompt: str
    before: str
    after: str


@dataclass(frozen=True, kw_only=True)
class RunResult(RunInputs):
    """A finished run."""

    devices: Devices
    processes: int | None = None
    #: Axes and their sizes, in the mesh's order.
    mesh: dict[str, int]
    #: "tensor": matrices are split over the axis "model"; "fsdp": over both axes.
    layout: str = "tensor"
    #: Names in the mesh's order; the last axis varies fastest.
    mesh_devices: tuple[str, ...] | None = None
    rule_coverage: CoverageCount
    #: Bytes of the loaded backbone on each device of the process that wrote the file.
    nbytes_per_device: dict[str, int]
    peak_nbytes_per_device_while_loading: dict[str, int] | None = None
    sharding_of_decoder_block_1: tuple[ShardingRow, ...]
    sharding_of_token_embedding: tuple[ShardingRow, ...] | None = None
    parameters: Parameters
    optimizer: OptimizerFacts
    checksums: Checksums | None = field(default=None, metadata={"key": "marks"})
    training: TrainingSummary
    training_evidence: TrainingEvidence | None = None
    style: StyleShift
    #: How much text the style was measured on: "quick" or "full".
    evidence: str = "full"
    generations: PromptCompletions
    #: Of the whole run, in all its sessions.
    seconds: float
    #: Steps after which the run was interrupted and resumed.
    resumed: tuple[int, ...] = ()
    #: The run's folder, as a user would type it.
    folder: str | None = None

    @property
    def device_count(self) -> int:
        """Number of devices of the mesh."""
        return math.prod(self.mesh.values())

    def as_json(self) -> dict[str, Any]:
        """The content of ``run.json``."""
        return dict(as_json(self))

    def write(self, file: Path) -> None:
        """Write ``run.json``, completely or not at all."""
        write_json(file, self.as_json())


def read_result(folder: Path) -> RunResult:
    """Read ``run.json``. Raises UserError if it is missing or damaged."""
    file = folder / RESULT_FILE
    with faults_in_one_sentence(file):
        content = json.loads(file.read_text(encoding="utf-8"))
        result = from_json(RunResult, content)
        # These have defaults, which a damaged file must not get.
        for missing in {"rank", "dtype"} - content["settings"].keys():
            raise KeyError(missing)
        _check(result)
    return result


def _check(result: RunResult) -> None:
    """Refuse values that contradict each other."""
    if result.settings.dtype not in DTYPES:
        raise ValueError(f'"dtype" is "{result.settings.dtype}"')
    if not result.mesh or min(result.mesh.values()) < 1:
        raise ValueError(f'"mesh" is {result.mesh}')
    rows = (*result.sharding_of_decoder_block_1, *(result.sharding_of_token_embedding or ()))
    for spec in (*(rule.spec for rule in result.rule_coverage.rules), *(row.spec for row in rows)):
        if unknown := set(mesh_axes(spec)) - set(result.mesh):
            raise ValueError(f"a spec names {', '.join(sorted(unknown))}, and the mesh has {', '.join(result.mesh)}")
    for path, shape, spec in rows:
        if len(spec) > len(shape) or min(shape, default=1) < 1:
            raise ValueError(f"{path} has the shape {shape} and a spec of {len(spec)} entries")


def axes_of(entry: SpecEntry) -> tuple[str, ...]:
    """The mesh axes that one dimension is split over."""
    return () if entry is None else (entry,) if isinstance(entry, str) else entry


def mesh_axes(spec: Iterable[SpecEntry]) -> tuple[str, ...]:
    """All mesh axes of a spec."""
    return tuple(itertools.chain.from_iterable(map(axes_of, spec)))
