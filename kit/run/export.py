"""A finished run's model as a preset: what was tuned, merged into the weights, in a folder that KerasHub loads without the kit."""

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from kit.run.small_updates import keep_small_updates
from kit.errors import UserError
from kit.evidence.merging import kernel_updates, update_kept
from kit.files import new_folder
from kit.models.presets import Preset, download_all, require_memory
from kit.models.settings import SETTINGS_FILE, FinetuningSettings
from kit.models.sharded_loading import load_slice_by_slice
from kit.models.weightless import weightless_variables
from kit.narrator import Narrator, as_bytes, as_count
from kit.parts.implementation import REFERENCE, Parts
from kit.run.pipeline import complete, load_model, mark_of_weights
from kit.run.folder import FinishedRun
from kit.runtime.platform import Runtime

#: The largest difference of a logit, relative to the largest logit, that merging may make. In float32 it is a few 1e-7, from a sum in
#: another order. In bfloat16 each entry of a merged kernel is rounded, by up to 1/512 of itself, and so are the logits.
LOGITS_APART = {"float32": 1e-4, "bfloat16": 0.1}


@dataclass(frozen=True)
class ExportOptions:
    """What is exported, and how."""

    run: FinishedRun
    #: The folder to be made, and how it was given.
    target: Path
    shown_target: str
    #: The preset that the run tuned.
    preset: Preset
    #: Those of the run.
    settings: FinetuningSettings
    #: That the weights get: "float32" or "bfloat16".
    dtype: str
    #: Sizes of the axes "batch" and "model".
    mesh: tuple[int, int]


def export(options: ExportOptions, runtime: Runtime, parts: Parts, narrator: Narrator) -> None:
    """Load the preset, give it what the run has tuned, merge, and write a preset.

    Raises:
        UserError: for what a user can mend. Then there is nothing at the target.

    """
    settings, run = options.settings, options.run
    narrator.step("Loading")
    layout_map = parts.layout.gemma_layout_map(parts.mesh.make_device_mesh(*options.mesh))
    nbytes = sum(variable.nbytes for variable in weightless_variables(options.preset.config, 0, dtype=options.dtype))
    if runtime.simulated:
        require_memory(options.preset, nbytes)
    preset = download_all(options.preset, narrator.say)
    with load_slice_by_slice():
        model = load_model(parts, preset, layout_map, options.dtype)
    if mark_of_weights(model) != run.mark_of_weights:
        raise UserError(
            f"{run.shown}: the weights of {preset.name} are others now than those that it tuned: bring them back."
        )
    parameters = sum(math.prod(variable.shape) for variable in model.backbone.variables)
    narrator.say(f"{preset.name}: {as_count(parameters)} parameters, {as_bytes(nbytes)} in {options.dtype}")

    narrator.step("What was tuned")
    if settings.rank:
        parts.lora.enable_lora(model, settings.rank)
    # In bfloat16 the run added its adapters in float32: that is what the merged model is held against.
    keep_small_updates(model, parts, options.dtype, settings.rank)
    parts.training.compile_for_finetuning(model, settings.learning_rate, settings.weight_decay)
    _resume(parts, model, run)
    tuned = f"adapters of rank {settings.rank}" if settings.rank else "all parameters"
    narrator.say(f"{tuned}, after {as_count(run.steps)} steps of {run.shown}")

    if settings.rank:
        narrator.step("Merged")
        _merge(parts, model, options, narrator)
    narrator.step("Completion")
    completion = complete(model, parts, settings.prompt, settings.max_length)
    narrator.text(completion)
    if completion == run.completion:
        narrator.say("which is what the run wrote when it had been tuned")
    else:
        narrator.say("where the run, when it had been tuned, wrote")
        narrator.text(run.completion)

    narrator.step("Saved")
    _write(model, Path(preset.location), options)
    files = sorted(path for path in options.target.rglob("*") if path.is_file())
    names = ", ".join(path.relative_to(options.target).as_posix() for path in files)
    narrator.say(f"{options.shown_target} ({names}); {as_bytes(sum(file.stat().st_size for file in files))}")
    narrator.say(f'keras_hub.models.CausalLM.from_preset("{options.shown_target}") loads it, without this kit')


def _resume(parts: Parts, model: Any, run: FinishedRun) -> None:
    try:
        parts.checkpoint.resume_training(model, run.adapters)
    except OSError as error:
        raise UserError(f"{run.shown}: its adapters cannot be read ({error}).") from error
    except ValueError as error:
        if parts.name != REFERENCE:
            raise
        raise UserError(f"{run.shown}: its adapters are not those of its settings ({error}).") from error


def _merge(parts: Parts, model: Any, options: ExportOptions, narrator: Narrator) -> None:
    """Merge, and hold the model against what it was."""
    # As many as the batch axis takes, and two at least.
    texts = [(options.run.completion, options.settings.prompt)[number % 2] for number in range(max(2, options.mesh[0]))]
    length, model.preprocessor.sequence_length = model.preprocessor.sequence_length, options.settings.max_length
    # Left to themselves a GPU rounds the factors of a product to TF32, and a TPU to bfloat16: that would round the update that is merged, and on
    # an H100 it sets the logits 3e-4 apart.
    with jax.default_matmul_precision("highest"):
        before, updates = _logits(model, texts), kernel_updates(model.backbone)
        parts.checkpoint.merge_adapters(model)
        apart = float(np.abs(_logits(model, texts) - before).max() / np.abs(before).max())
    model.preprocessor.sequence_length = length
    if not apart < LOGITS_APART[options.dtype]:
        raise UserError(
            f"merge_adapters of {parts.name} changes what the model computes: logits are {apart:.1e} apart, in parts of the largest, where "
            f"{LOGITS_APART[options.dtype]:g} is the most that rounding makes; `pytest tests/exercises/test_checkpoint.py` says more."
        )
    try:
        kept = update_kept(updates)
    except ValueError:
        raise UserError(
            f"{options.run.shown}: its adapters add nothing to the weights, so nothing was tuned that could be exported."
        ) from None
    narrator.say(
        f"{kept:.4f} of the adapters' updates is in the kernels of {len(updates)} layers; logits are {apart:.1e} apart at most, in parts of the "
        "largest, from those before"
    )


def _logits(model: Any, texts: Sequence[str]) -> np.ndarray:
    return np.asarray(model.predict_on_batch(list(texts)), dtype="float32")


def _write(model: Any, source: Path, options: ExportOptions) -> None:
    try:
        with new_folder(options.target) as unfinished:
            model.save_to_preset(str(unfinished))
            # What the preset is tuned with by default goes on with it.
            if (source / SETTINGS_FILE).is_file():
                shutil.copyfile(source / SETTINGS_FILE, unfinished / SETTINGS_FILE)
    except OSError as error:
        raise UserError(
            f"{options.shown_target} cannot be written ({error.strerror or error}); nothing is left there."
        ) from None
