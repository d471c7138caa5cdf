"""``kit export``."""

import os
from pathlib import Path

import click

from kit.cli.run import MeshShape, failures_of
from kit.errors import UserError
from kit.models.settings import WEIGHT_DTYPES, FinetuningSettings
from kit.parts.implementation import find_parts
from kit.run.folder import FinishedRun, finished_run
from kit.runtime.processes import ADDRESSES, processes_of_environment


@click.command("export", context_settings={"show_default": True})
@click.argument("run")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--dtype", default="float32", help="Of the weights that are written: float32, or bfloat16 with half the bytes."
)
@click.option(
    "--mesh",
    type=MeshShape(),
    help='Sizes of the axes "batch" and "model".  [default: those of the run, on an accelerator 1 x all]',
)
@click.option("--platform", default="auto", help="auto, cpu (simulated devices), gpu or tpu.")
@click.option("--devices", type=int, help="How many devices to simulate.  [default: as many as the run's mesh takes]")
def command(
    run: str, folder: Path, dtype: str, mesh: tuple[int, int] | None, platform: str, devices: int | None
) -> None:
    """Write the model that a finished RUN has tuned into a new FOLDER, as a preset that KerasHub loads without this kit.

    The adapters are merged into the weights by the parts that the run was made with, and the merged model is held against
    the one with adapters before anything is written.
    """
    from kit.models.presets import find_preset
    from kit.run.options import fitting_mesh
    from kit.runtime import platform as runtime_platform

    found, settings, target = _checked(run, folder, dtype)
    # An accelerator has the devices that it has: there the run's own mesh need not fit.
    if mesh is None and devices is None and runtime_platform.choose_platform(platform) == "cpu":
        mesh = found.mesh
    chosen, simulated = runtime_platform.choose_devices(platform, devices or (mesh and mesh[0] * mesh[1]))
    runtime_platform.prepare_environment(chosen, simulated)
    parts = find_parts(found.implementation, found.filled)
    preset = find_preset(found.preset)
    if chosen == "cpu":
        fitting_mesh(mesh, simulated)
    runtime = runtime_platform.start(platform, simulated if chosen == "cpu" else devices, settings.seed)
    parts.check()

    from kit.cli.console import ConsoleNarrator
    from kit.run.export import ExportOptions, export

    narrator = ConsoleNarrator()
    options = ExportOptions(
        found, target, str(folder), preset, settings, dtype, fitting_mesh(mesh, runtime.device_count)
    )
    with failures_of(parts, narrator):
        export(options, runtime, parts, narrator)


def _checked(run: str, folder: Path, dtype: str) -> tuple[FinishedRun, FinetuningSettings, Path]:
    """The run, its settings, and the absolute path of the folder to be made. The run's working folder becomes the process's."""
    if dtype not in WEIGHT_DTYPES:
        raise UserError(f"--dtype {dtype}: choose one of {', '.join(WEIGHT_DTYPES)}.")
    if processes_of_environment().connected:
        raise UserError(
            f"kit export is one process, and {ADDRESSES} is set for several: run it without Keras' variables for several processes."
        )
    found, target = finished_run(run), folder.absolute()
    if target.exists():
        raise UserError(f"{folder}: it is there already; give a folder that is to be made.")
    place = next(parent for parent in target.parents if parent.exists())
    if not place.is_dir() or not os.access(place, os.W_OK):
        raise UserError(f"{folder}: no folder can be made in {place}.")
    try:
        settings = FinetuningSettings(**found.settings)
        os.chdir(found.working_folder)
    except TypeError:
        raise UserError(f"{run}: its run.json is damaged, or of an older kit: the run must be made again.") from None
    except OSError:
        raise UserError(
            f"{run}: it was made in {found.working_folder}, which is not there any more; its paths may be relative to it."
        ) from None
    return found, settings, target
