"""Export of a trained model as a preset with merged adapters, loadable without the kit."""

import math
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import keras_hub
import numpy as np

from kit.errors import UserError
from kit.evidence.merging import kernel_updates, update_kept
from kit.files import new_folder
from kit.formatting import format_bytes, format_count
from kit.models.presets import Preset, download_all, require_memory
from kit.models.settings import SETTINGS_FILE
from kit.models.sharded_loading import load_slice_by_slice
from kit.models.weightless import weightless_variables
from kit.narrator import Narrator
from kit.parts.implementation import REFERENCE, Parts
from kit.run.checksums import weights_checksum
from kit.run.cpu_operations import compute_faster
from kit.run.finished import FinishedRun
from kit.run.generation import complete
from kit.run.hdf5 import write_errors_are_os_errors
from kit.run.layouts import choose_layout
from kit.run.loading import load_model
from kit.run.lora_targets import lora_targets_must_exist
from kit.run.small_updates import keep_small_updates
from kit.runtime.platform import Runtime

#: The largest difference of a logit that merging may make, relative to the largest logit. In
#: float32 it is a few 1e-7, since sums have another order. In bfloat16 each entry of a merged
#: kernel is rounded by up to 1/512 of itself, and so are the logits.
LARGEST_DIFFERENCE = {"float32": 1e-4, "bfloat16": 0.1}


@dataclass(frozen=True)
class ExportOptions:
    """What to export, and how."""

    run: FinishedRun
    #: The folder to create, and how the user typed it.
    target: Path
    shown_target: str
    #: The preset that the run trained.
    preset: Preset
    #: Of the weights that are written: "float32" or "bfloat16".
    dtype: str
    #: Sizes of the axes "batch" and "model".
    mesh: tuple[int, int]


def export(options: ExportOptions, runtime: Runtime, parts: Parts, narrator: Narrator) -> None:
    """Load the preset, restore what the run trained, merge the adapters, and write a preset.

    Raises UserError for whatever the user can fix; then nothing is written.
    """
    model, source = _load(options, runtime, parts, narrator)
    _restore(model, options, parts, narrator)
    if options.run.result.settings.rank:
        merge_and_compare(model, options, parts, narrator)
    _compare_completion(model, options.run, parts, narrator)
    _save(model, source, options, narrator)


def _load(
    options: ExportOptions, runtime: Runtime, parts: Parts, narrator: Narrator
) -> tuple[keras_hub.models.CausalLM, Path]:
    """The model of the preset, and the folder that it was loaded from."""
    narrator.step("Loading")
    layout = choose_layout(parts, options.preset.config, options.mesh)
    if layout.sentence:
        narrator.say(layout.sentence)
    layout_map = layout.make(parts.mesh.make_device_mesh(*options.mesh))
    nbytes = sum(variable.nbytes for variable in weightless_variables(options.preset.config, 0, dtype=options.dtype))
    if runtime.simulated:
        require_memory(options.preset, nbytes)
    preset = download_all(options.preset, narrator.say)
    with narrator.working(f"loading {preset.name}") as work, load_slice_by_slice(work.count):
        model = load_model(parts.loading, preset, layout_map, options.dtype)
    if runtime.simulated:
        # As in the run, so that the completions are the same.
        compute_faster(model)
    checksums = options.run.result.checksums
    if checksums is None or weights_checksum(model) != checksums.weights:
        raise UserError(
            f"{options.run.shown}: the weights of {preset.name} have changed since the run trained them: restore them."
        )
    parameters = sum(math.prod(variable.shape) for variable in model.backbone.variables)
    narrator.say(f"{preset.name}: {format_count(parameters)} parameters, {format_bytes(nbytes)} in {options.dtype}")
    if preset.left_out:
        narrator.say(f"text only: exported without the {' and the '.join(preset.left_out)} of {preset.name}")
    return model, Path(preset.location)


def _restore(model: keras_hub.models.CausalLM, options: ExportOptions, parts: Parts, narrator: Narrator) -> None:
    narrator.step("Trained parameters")
    run, settings = options.run, options.run.result.settings
    if settings.rank:
        with lora_targets_must_exist():
            parts.lora.enable_lora(model, settings.rank)
    # In bfloat16 the run added its adapters in float32; the merged model is compared with that.
    keep_small_updates(model, parts, options.dtype, settings.rank)
    parts.training.compile_for_finetuning(model, settings.learning_rate, settings.weight_decay)
    try:
        parts.checkpoint.resume_training(model, run.training_state)
    except OSError as error:
        raise UserError(f"{run.shown}: cannot read its adapters ({error}).") from error
    except ValueError as error:
        if parts.name != REFERENCE:
            raise
        raise UserError(f"{run.shown}: its adapters do not fit its settings ({error}).") from error
    trained = f"adapters of rank {settings.rank}" if settings.rank else "all parameters"
    narrator.say(f"{trained}, after {format_count(run.result.training.steps)} steps of {run.shown}")


def merge_and_compare(
    model: keras_hub.models.CausalLM, options: ExportOptions, parts: Parts, narrator: Narrator
) -> None:
    """Merge the adapters, and compare the merged model with the model before.

    Raises UserError if the logits change by more than rounding explains, or if the adapters are
    zero.
    """
    narrator.step("Merged adapters")
    result = options.run.result
    # At least two texts, and as many as the batch axis takes.
    number = max(2, options.mesh[0])
    texts = [(result.generations.after, result.settings.prompt)[index % 2] for index in range(number)]
    length, model.preprocessor.sequence_length = model.preprocessor.sequence_length, result.settings.max_length
    # By default a GPU rounds the factors of a product to TF32, and a TPU to bfloat16: that would
    # round the merged update, and on an H100 the logits would differ by 3e-4.
    with jax.default_matmul_precision("highest"):
        before, updates = _logits(model, texts), kernel_updates(model.backbone)
        parts.checkpoint.merge_adapters(model)
        difference = float(np.abs(_logits(model, texts) - before).max() / np.abs(before).max())
    model.preprocessor.sequence_length = length
    if not difference < LARGEST_DIFFERENCE[options.dtype]:
        raise UserError(
            f"merge_adapters of {parts.name} changes what the model computes: logits differ by up to {difference:.1e} "
            f"of the largest, and rounding explains at most {LARGEST_DIFFERENCE[options.dtype]:g}; run "
            f"`kit check checkpoint --impl {shlex.quote(parts.name)}`."
        )
    try:
        kept = update_kept(updates)
    except ValueError:
        raise UserError(
            f"{options.run.shown}: its adapters are zero, so the run trained nothing that could be exported."
        ) from None
    narrator.say(
        f"the kernels of {len(updates)} layers contain {kept:.4f} of the adapters' updates; logits differ by up to "
        f"{difference:.1e} of the largest logit"
    )


def _logits(model: keras_hub.models.CausalLM, texts: Sequence[str]) -> np.ndarray:
    return np.asarray(model.predict_on_batch(list(texts)), dtype="float32")


def _compare_completion(model: keras_hub.models.CausalLM, run: FinishedRun, parts: Parts, narrator: Narrator) -> None:
    """Complete the run's own prompt, and compare with what the run wrote."""
    narrator.step("Completion")
    settings, expected = run.result.settings, run.result.generations.after
    completion = complete(model, parts.generation, settings.prompt, settings.max_length)
    narrator.text(completion)
    if completion == expected:
        narrator.say("the same text as at the end of the run")
    else:
        narrator.say("at the end of the run it was")
        narrator.text(expected)


def _save(model: keras_hub.models.CausalLM, source: Path, options: ExportOptions, narrator: Narrator) -> None:
    narrator.step("Saved")
    # Written with the preset. After merging nothing is trainable, and so it would stay.
    model.backbone.trainable = True
    try:
        with new_folder(options.target) as unfinished, write_errors_are_os_errors():
            model.save_to_preset(str(unfinished))
            # The preset's default settings for fine-tuning stay with it.
            settings_file = source / SETTINGS_FILE
            if settings_file.is_file():
                shutil.copyfile(settings_file, unfinished / SETTINGS_FILE)
    except OSError as error:
        raise UserError(
            f"{options.shown_target}: cannot write it ({error.strerror or error}); nothing is left there."
        ) from None
    files = sorted(path for path in options.target.rglob("*") if path.is_file())
    names = ", ".join(path.relative_to(options.target).as_posix() for path in files)
    narrator.say(f"{options.shown_target} ({names}); {format_bytes(sum(file.stat().st_size for file in files))}")
    # CausalLM would not do for every family: which class of a Gemma 4 it finds is random.
    name = type(model).__name__
    narrator.say(f'load it without this kit: keras_hub.models.{name}.from_preset("{options.shown_target}")')
