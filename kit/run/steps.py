"""The steps of a run: each reads the state, reports its evidence, and sets what others need."""

import functools
import math
import time

import keras
import numpy as np

from kit.data.films import list_prompts
from kit.errors import UserError
from kit.evidence.placement import nbytes_per_device
from kit.evidence.rule_coverage import check_coverage
from kit.evidence.style import load_style_classifier, share_without_copies, shuffled_words
from kit.formatting import format_bytes, format_count, format_share, format_tuple
from kit.models.preprocessor import preprocess_one_at_a_time
from kit.models.presets import download_all, require_memory
from kit.models.sharded_loading import load_slice_by_slice
from kit.run import result as records
from kit.run.checksums import run_checksums
from kit.run.coverage import coverage_count, coverage_with_and_without_adapters, report_coverage
from kit.run.cpu_operations import compute_faster
from kit.run.evidence_size import EVIDENCE_SIZES, choose_evidence_size, describe_choice
from kit.run.generation import measure_style
from kit.run.generations import GENERATIONS_FILE, Generations
from kit.run.layouts import choose_layout
from kit.run.loading import load_model
from kit.run.lora_targets import lora_targets_must_exist
from kit.run.multi_process import gathered_values, local_batches, on_main_process
from kit.run.options import FULLY_SHARDED
from kit.run.recorder import Schedule, StepRecorder, prepare_for_recording, save_state
from kit.run.resume import check_inputs_unchanged, restore_training
from kit.run.small_updates import keep_small_updates
from kit.run.state import RunState
from kit.run.style_evidence import StyleEvidence
from kit.run.training import train_remaining_steps, training_summary
from kit.run.training_measures import TrainingMeasures, described
from kit.run.versions import changed_versions
from kit.runtime.interrupts import INTERRUPTS


def devices(state: RunState) -> None:
    """List the devices of all processes."""
    state.narrator.step("Devices")
    runtime, names = state.runtime, keras.distribution.list_devices()
    noun = "devices" if len(names) > 1 else "device"
    kind = f"simulated {noun} on the CPU" if runtime.simulated else f"{noun}, {runtime.device_kind}"
    sentence = f"{len(names)} {kind}: {names[0]}" + (f" to {names[-1]}" if len(names) > 1 else "")
    if runtime.processes.is_distributed:
        sentence += f", of {runtime.processes.count} processes"
    state.narrator.say(sentence)
    state.devices = records.Devices(runtime.platform, runtime.device_kind, len(names))


def mesh(state: RunState) -> None:
    """Arrange the devices in a mesh."""
    state.narrator.step("Mesh")
    shape = state.options.mesh_shape(state.runtime.device_count)
    state.device_mesh = state.parts.mesh.make_device_mesh(*shape)
    state.narrator.say(
        ", ".join(f'"{name}": {size}' for name, size in state.mesh_axes.items())
        + " — the batch is split over the first axis, each weight matrix over "
        + ("both" if state.options.layout == FULLY_SHARDED else "the second")
    )


def layout_map(state: RunState) -> None:
    """Make the layout map, and apply it to every variable of the preset before loading."""
    state.narrator.step("Layout map")
    preset, settings = state.options.preset, state.options.settings
    mesh_shape = state.options.mesh_shape(state.runtime.device_count)
    layout = choose_layout(state.parts, preset.config, mesh_shape, state.options.layout)
    if layout.sentence:
        state.narrator.say(layout.sentence)
    state.layout_map = layout.make(state.device_mesh)
    config, dtype = preset.config, settings.weight_dtype
    tuned, loaded = coverage_with_and_without_adapters(state.layout_map, config, settings.rank, dtype)
    check_coverage(tuned, mesh_shape)
    report_coverage(tuned, loaded, state.narrator)
    state.coverage = coverage_count(tuned, loaded)
    state.predicted = records.LoadedBytes(loaded.nbytes, loaded.nbytes_per_device)
    if state.runtime.simulated:
        require_memory(preset, loaded.nbytes)


def distributed_loading(state: RunState) -> None:
    """Load the preset onto the mesh, and measure what each device holds."""
    state.narrator.step("Distributed loading")
    preset = download_all(state.options.preset, state.narrator.say)
    with state.narrator.working(f"loading {preset.name}") as work, load_slice_by_slice(work.count) as loading:
        state.model = load_model(state.parts.loading, preset, state.layout_map, state.options.settings.dtype)
    if state.runtime.simulated:
        compute_faster(state.model)
    variables = state.model.backbone.variables
    state.nbytes_per_device = nbytes_per_device(variables)
    state.peak_nbytes_per_device = dict(loading.peak_nbytes)
    predicted = state.predicted
    state.narrator.say(
        f"{preset.name}: "
        f"{format_count(sum(math.prod(variable.shape) for variable in variables))} parameters; each device "
        f"holds {format_bytes(max(state.nbytes_per_device.values()))} (predicted "
        f"{format_bytes(predicted.nbytes_per_device)}; "
        f"replicated it would be {format_bytes(predicted.nbytes)}); peak while loading "
        f"{format_bytes(max(loading.peak_nbytes.values()))}"
    )
    if preset.left_out:
        state.narrator.say(f"text only: loaded without the {' and the '.join(preset.left_out)} of {preset.name}")


def sharding_table(state: RunState) -> None:
    """Print how the variables of a decoder block are sharded."""
    # A model may have a single block.
    block = f"decoder_block_{min(1, state.options.preset.config['config']['num_layers'] - 1)}"
    state.narrator.step(f"Sharding of {block}")
    tables = []
    for layer in (block, "token_embedding"):
        table = state.parts.loading.sharding_table(state.model.backbone.get_layer(layer))
        tables.append(tuple(records.ShardingRow(path, tuple(shape), tuple(spec)) for path, shape, spec in table))
    state.sharding_of_block, state.sharding_of_embedding = tables
    rows = [
        (path.partition("/")[2] or path, format_tuple(shape), format_tuple(spec)) for path, shape, spec in tables[0]
    ]
    state.narrator.table(("variable", "shape", "sharding"), rows)


def generation_before(state: RunState) -> None:
    """Generate text before training; a resumed run has done so already."""
    if state.options.interrupted:
        state.before = state.options.interrupted.before
        state.evidence_size = EVIDENCE_SIZES[state.options.interrupted.request.evidence]
        return
    state.narrator.step("Generation before")
    _choose_evidence(state)
    state.before = _generate(state, "before")


def _choose_evidence(state: RunState) -> None:
    asked, parameters = state.options.evidence, state.model.backbone.count_params()
    state.evidence_size = choose_evidence_size(asked, parameters, state.runtime.simulated)
    if sentence := describe_choice(state.evidence_size, asked, parameters):
        state.narrator.say(sentence)


def reviews(state: RunState) -> None:
    """Prepare the batches of reviews."""
    state.narrator.step("Reviews")
    options, settings = state.options, state.options.settings
    state.batches = state.parts.reviews.prepare_reviews(
        options.examples, settings.batch_size, settings.batches, settings.seed
    )
    if options.control:
        random = np.random.default_rng(settings.seed)
        state.batches = [[shuffled_words(text, random) for text in batch] for batch in state.batches]
    state.narrator.say(
        f"{settings.data}: {len(state.batches)} batches of {settings.batch_size} from "
        f"{format_count(len(options.examples))} reviews, truncated or padded to {settings.sequence_length} tokens"
        + ("; control: the words of each review are shuffled" if options.control else "")
    )
    state.model.preprocessor.sequence_length = settings.sequence_length
    preprocess_one_at_a_time(state.model)


def lora(state: RunState) -> None:
    """Enable LoRA, unless all parameters are trained."""
    part, model, settings = state.parts.lora, state.model, state.options.settings
    before = records.ParameterCount(*part.count_parameters(model))
    if settings.rank:
        state.narrator.step(f"LoRA of rank {settings.rank}")
        with lora_targets_must_exist():
            part.enable_lora(model, settings.rank)
    else:
        state.narrator.step("No LoRA: all parameters are trained")
    tuned = records.ParameterCount(*part.count_parameters(model))
    counts = [("before", before), ("now", tuned)]
    rows = [(name, format_count(count.trainable), format_count(count.total)) for name, count in counts]
    state.narrator.table(("", "trainable", "total"), rows)
    state.parameters = records.Parameters(before, tuned)
    if sentence := keep_small_updates(model, state.parts, settings.dtype, settings.rank):
        state.narrator.say(sentence)


def optimizer(state: RunState) -> None:
    """Compile the model for fine-tuning."""
    state.narrator.step("Optimizer")
    model, settings = state.model, state.options.settings
    state.parts.training.compile_for_finetuning(model, settings.learning_rate, settings.weight_decay)
    model.optimizer.build(model.trainable_variables)
    decayed = sum(model.optimizer._use_weight_decay(variable) for variable in model.trainable_variables)
    state.optimizer = records.OptimizerFacts(type(model.optimizer).__name__, decayed)
    state.narrator.say(
        f"{state.optimizer.name}, learning rate {settings.learning_rate:g}, weight decay {settings.weight_decay:g} on "
        f"{decayed} of {len(model.trainable_variables)} trainable variables (biases and scales are excluded)"
    )
    state.checksums = run_checksums(model, state.batches)


def resume(state: RunState) -> None:
    """Restore the newest checkpoint of an interrupted run; a new run has none."""
    interrupted = state.options.interrupted
    if interrupted is None:
        return
    state.narrator.step("Resumed")
    if state.runtime.processes.is_main:
        check_inputs_unchanged(interrupted, state.checksums)
    state.checkpoint = interrupted.checkpoint
    for sentence in interrupted.damaged:
        state.narrator.say(f"warning: {sentence}; the run resumes from the one before")
    restore_training(state.parts.checkpoint, state.model, state.checkpoint)
    done = state.checkpoint.step if state.checkpoint else 0
    state.narrator.say(
        f"{interrupted.shown}: {done} of {len(state.batches) * state.options.settings.epochs} steps are done"
    )
    if changed := changed_versions(interrupted.request.versions, state.inputs.versions):
        state.narrator.say(f"warning: versions have changed since the run started ({changed}): losses may differ")


def training(state: RunState) -> None:
    """Train, and record each step."""
    state.narrator.step("Training")
    settings, batches, processes = state.options.settings, state.batches, state.runtime.processes
    steps = len(batches) * settings.epochs
    schedule = Schedule(len(batches), settings.epochs, state.options.save_every or max(1, math.ceil(steps / 10)))
    state.narrator.say(
        f"checkpoint every {schedule.save_every} step{'' if schedule.save_every == 1 else 's'}; if the run is "
        f"interrupted, resume it with `kit run --resume {state.shown_folder}`"
    )
    # The narrator shows the progress. Keras' bar is 113 columns wide, also where a terminal has 80,
    # and its backspaces fill a notebook.
    keras.config.disable_interactive_logging()
    # Several processes wait for each step: gloo confuses two programs that run at the same time.
    prepare_for_recording(state.model, late=not processes.is_distributed)
    measures = TrainingMeasures(state, schedule.steps)
    state.recorder = recorder = StepRecorder(
        state.folder,
        state.parts.checkpoint,
        schedule,
        state.narrator,
        state.started,
        state.checkpoint,
        processes,
        measures.held_out,
        measures.twin,
    )
    started = time.perf_counter()
    own_batches = local_batches(batches, state.device_mesh) if processes.is_distributed else batches
    with INTERRUPTS.deferred(), measures.of_training(), state.narrator.working("compiling the training step"):
        train_remaining_steps(state.parts.training, state.model, own_batches, settings.epochs, recorder)
    if INTERRUPTS.requested:  # in the last step, or in a `finetune` without callbacks
        raise KeyboardInterrupt
    if not recorder.records:
        raise UserError("`finetune` never called its callbacks: pass `callbacks` to `fit`.")
    # A resumed run reports the pace of this process.
    first = state.checkpoint.step if state.checkpoint and state.checkpoint.step < recorder.done - 1 else 0
    seconds = time.perf_counter() - started - recorder.scoring_seconds
    state.training = summary = training_summary(recorder.records, seconds, first)
    state.training_evidence = measures.evidence()
    state.narrator.say(
        f"mean loss {summary.first_loss:.4f} in the first third of the steps, {summary.last_loss:.4f} in the last; "
        f"{summary.steps} steps in {summary.seconds:.1f} s, {summary.milliseconds_per_step:.0f} ms per step after the "
        "first"
    )
    for sentence in described(state.training_evidence, [record.loss for record in recorder.records]):
        state.narrator.say(sentence)


def generation_after(state: RunState) -> None:
    """Generate text with the trained model."""
    state.narrator.step("Generation after")
    state.after = _generate(state, "after")


def style_shift(state: RunState) -> None:
    """Compare the style after training with the style before."""
    before, after, prompts = state.before, state.after, _prompts(state)
    if before is None or after is None:
        return
    state.narrator.step("Style shift")
    gain = state.parts.generation.style_shift(vars(before.scores), vars(after.scores))
    copies = share_without_copies(
        [text[len(prompt) :] for text, prompt in zip(after.completions, prompts, strict=True)],
        (text for batch in state.batches for text in batch),
    )
    first, last = before.style_scores, after.style_scores
    shifted = last.share_of_reviews > first.share_of_reviews and gain["reviews"] > 0
    state.narrator.table(
        ("", "before", "after"),
        [
            *_style_rows(first, last, len(prompts)),
            ("nats per token, held-out reviews", f"{before.scores.reviews:.4f}", f"{after.scores.reviews:.4f}"),
            ("nats per token, new lists", f"{before.scores.lists:.4f}", f"{after.scores.lists:.4f}"),
            ("completions without 8 consecutive words of a training review", "", format_share(copies)),
        ],
    )
    state.narrator.say(
        f"reviews gained {gain['reviews']:+.4f} nats per token, lists {gain['lists']:+.4f}: "
        + ("the style has shifted to reviews" if shifted else "the style has not shifted to reviews")
    )
    if after.repetitive or after.degenerate:
        state.narrator.say(
            f"after training, {after.repetitive} of {len(prompts)} completions repeat six words in a row, and "
            f"{after.degenerate} are empty or mostly repetition"
        )
    state.shift = records.StyleShift(
        first, last, records.StyleGain(gain["reviews"], gain["lists"], gain["shift"]), shifted, copies
    )


def save(state: RunState) -> None:
    """Write the files of the finished run, ``run.json`` last."""
    trained = [*state.model.trainable_variables, *state.model.optimizer.variables]
    with gathered_values(trained, state.runtime.processes):
        if state.folder is None or state.before is None or state.after is None:
            return
        state.narrator.step("Saved")
        result = state.make_result(state.before.completion, state.after.completion)
        state.folder.with_space(state.recorder.write_metrics)
        judged = state.before.judged_completions, state.after.judged_completions
        state.folder.finish(
            {
                "settings.json": result.settings,
                "versions.json": result.versions,
                GENERATIONS_FILE: Generations(tuple(_prompts(state)), *judged),
            },
            result,
            functools.partial(save_state, state.parts.checkpoint, state.model),
        )
    state.result = result


def _generate(state: RunState, name: str) -> StyleEvidence | None:
    """Measure the style of the model on process 0."""
    settings, processes = state.options.settings, state.runtime.processes

    def make_layout_map(device_mesh: keras.distribution.DeviceMesh) -> keras.distribution.LayoutMap:
        batch, model = device_mesh.shape
        return choose_layout(state.parts, state.options.preset.config, (batch, model)).make(device_mesh)

    with on_main_process(name, state.model, make_layout_map, processes) as is_main:
        if not is_main:
            return None
        evidence = measure_style(
            state.model,
            state.parts.generation,
            load_style_classifier(),
            state.evidence_size,
            settings.prompt,
            settings.max_length,
            state.narrator,
        )
        state.narrator.text(evidence.completion)
        state.narrator.say(
            f"of {len(evidence.verdicts)} such prompts, {evidence.lists} are answered with a list, "
            f"{evidence.reviews} with a review and {evidence.neither} with neither"
            + (f"; {evidence.degenerate} answers are empty or mostly repetition" if evidence.degenerate else "")
        )
    return evidence


def _style_rows(before: records.StyleScores, after: records.StyleScores, number: int) -> list[tuple[str, str, str]]:
    """How many completions are lists, reviews and neither."""
    rows = (
        (f"lists, of {number} prompts", before.share_of_lists, after.share_of_lists),
        (f"reviews, of {number} prompts", before.share_of_reviews, after.share_of_reviews),
        ("neither", before.share_of_neither, after.share_of_neither),
        ("neither, since empty or mostly repetition", before.share_of_degenerate, after.share_of_degenerate),
        ("completions that repeat six words in a row", before.share_of_repetitive, after.share_of_repetitive),
    )
    return [(name, format_share(first or 0.0), format_share(last or 0.0)) for name, first, last in rows]


def _prompts(state: RunState) -> list[str]:
    return state.evidence_size.of_prompts(list_prompts())
