"""The state shared by the steps of a run, and the result built from it."""

import os
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

import keras
import keras_hub
import numpy as np

from kit.narrator import Narrator
from kit.parts.implementation import Parts
from kit.run import result as records
from kit.run.evidence_size import FULL, EvidenceSize
from kit.run.folder import Checkpoint, RunFolder
from kit.run.options import RunOptions
from kit.run.recorder import StepRecorder
from kit.run.result import RunInputs, RunResult
from kit.run.style_evidence import StyleEvidence
from kit.run.training_evidence import TrainingEvidence
from kit.run.versions import versions
from kit.runtime.platform import Runtime


@dataclass
class RunState:
    """What the steps of a run share. A step sets what later steps and the result need."""

    options: RunOptions
    runtime: Runtime
    parts: Parts
    narrator: Narrator
    inputs: RunInputs
    #: When the command began, by ``time.perf_counter``: the run's time includes the imports.
    started: float
    #: The newest checkpoint of the run that is resumed.
    checkpoint: Checkpoint | None = None
    #: The folder of the run; None in a process that writes nothing.
    folder: RunFolder | None = None
    #: The folder as the user would type it.
    shown_folder: str = ""
    #: How much text the style is measured on.
    evidence_size: EvidenceSize = FULL
    #: The style before and after training; None in a process that generates nothing.
    before: StyleEvidence | None = None
    after: StyleEvidence | None = None
    result: RunResult | None = None

    devices: records.Devices = field(init=False)
    device_mesh: keras.distribution.DeviceMesh = field(init=False)
    layout_map: keras.distribution.LayoutMap = field(init=False)
    coverage: records.CoverageCount = field(init=False)
    predicted: records.LoadedBytes = field(init=False)
    model: keras_hub.models.CausalLM = field(init=False)
    nbytes_per_device: dict[str, int] = field(init=False)
    peak_nbytes_per_device: dict[str, int] = field(init=False)
    sharding_of_block: tuple[records.ShardingRow, ...] = field(init=False)
    sharding_of_embedding: tuple[records.ShardingRow, ...] = field(init=False)
    batches: list[list[str]] = field(init=False)
    parameters: records.Parameters = field(init=False)
    optimizer: records.OptimizerFacts = field(init=False)
    checksums: records.Checksums = field(init=False)
    recorder: StepRecorder = field(init=False)
    training: records.TrainingSummary = field(init=False)
    training_evidence: TrainingEvidence = field(init=False)
    shift: records.StyleShift = field(init=False)

    @property
    def mesh_axes(self) -> dict[str, int]:
        """The axes of the mesh and their sizes."""
        return dict(zip(self.device_mesh.axis_names, map(int, self.device_mesh.shape), strict=True))

    def make_result(self, before: str, after: str) -> RunResult:
        """The result, with the completions of the run's own prompt before and after training."""
        return RunResult(
            **vars(self.inputs),
            devices=self.devices,
            processes=self.runtime.processes.count,
            mesh=self.mesh_axes,
            layout=self.options.layout,
            mesh_devices=tuple(str(name) for name in np.asarray(self.device_mesh.devices).ravel()),
            rule_coverage=self.coverage,
            nbytes_per_device=self.nbytes_per_device,
            peak_nbytes_per_device_while_loading=self.peak_nbytes_per_device,
            sharding_of_decoder_block_1=self.sharding_of_block,
            sharding_of_token_embedding=self.sharding_of_embedding,
            parameters=self.parameters,
            optimizer=self.optimizer,
            checksums=self.checksums,
            training=self.training,
            training_evidence=self.training_evidence,
            style=self.shift,
            evidence=self.evidence_size.name,
            generations=records.PromptCompletions(self.options.settings.prompt, before, after),
            seconds=round(self.recorder.seconds_before + time.perf_counter() - self.started, 1),
            resumed=self.recorder.resumed,
            folder=self.shown_folder,
        )


def run_inputs(options: RunOptions, parts: Parts) -> RunInputs:
    """What a run is started with; a resumed run keeps the time when it was started."""
    now = datetime.now(UTC).replace(microsecond=0)
    return RunInputs(
        preset=options.preset.name,
        implementation=parts.name,
        filled=parts.filled,
        working_folder=os.getcwd(),
        control=options.control,
        settings=options.settings,
        deterministic=options.deterministic,
        versions=versions(),
        started=options.interrupted.request.started if options.interrupted else now,
    )
