"""A finished run of any preset, whose model was trained by hand."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from made_run import made_result, made_run

from kit.course.shared.tensor_parallel import device_mesh
from kit.models.presets import find_preset
from kit.parts.implementation import find_parts
from kit.run.checksums import weights_checksum
from kit.run.finished import FinishedRun, open_exportable_run
from kit.run.loading import load_model
from kit.run.result import Checksums, PromptCompletions

PROMPT = "Best films "
LENGTH = 24
RATE = 5e-3


def loaded_model(preset: str, mesh: tuple[int, int] = (1, 8), rank: int = 4) -> tuple[Any, str]:
    """A preset's model ready to be trained, and the checksum of its weights."""
    parts = find_parts("reference")
    keras.config.disable_interactive_logging()
    keras.utils.set_random_seed(0)
    layout_map = parts.layout.gemma_layout_map(device_mesh(*mesh))
    model = load_model(parts.loading, find_preset(preset), layout_map, "float32")
    checksum = weights_checksum(model)
    if rank:
        parts.lora.enable_lora(model, rank)
    parts.training.compile_for_finetuning(model, RATE, 0.01)
    model.preprocessor.sequence_length = LENGTH
    return model, checksum


def give_random_updates(model: Any) -> None:
    """In place of training, which would take longer to compile than it runs: adapters above 0."""
    random = np.random.default_rng(0)
    model.optimizer.build(model.trainable_variables)
    for variable in model.trainable_variables:
        variable.assign(np.asarray(variable) + 0.1 * random.standard_normal(variable.shape))


def write_finished_run(
    folder: Path, preset: str, model: Any, checksum: str, mesh: tuple[int, int] = (1, 8), rank: int = 4
) -> FinishedRun:
    """The run that trained this model."""
    completion = find_parts("reference").generation.complete(model, PROMPT, LENGTH)
    result = made_result(folder)
    made_run(
        folder,
        preset=preset,
        settings=replace(result.settings, rank=rank, max_length=LENGTH, prompt=PROMPT),
        generations=PromptCompletions(PROMPT, result.generations.before, completion),
        filled=False,
        working_folder=str(folder.parent),
        checksums=Checksums(batches="", weights=checksum),
        mesh=dict(zip(("batch", "model"), mesh, strict=True)),
    )
    find_parts("reference").checkpoint.save_training(model, folder / "adapters")
    return open_exportable_run(str(folder))
