"""``kit export``."""

import os
from pathlib import Path

import click

from kit.cli.run import MeshShape, failures_of
from kit.errors import UserError
from kit.models.settings import WEIGHT_DTYPES
from kit.narrator import Narrator, modules_so_far
from kit.parts.implementation import find_parts
from kit.run.finished import FinishedRun, open_exportable_run
from kit.runtime.downloads import show_downloads
from kit.runtime.processes import ADDRESSES, processes_of_environment


@click.command("export", context_settings={"show_default": True})
@click.argument("run")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--dtype", default="float32", help="Dtype of the exported weights: float32, or bfloat16 with half the bytes."
)
@click.option(
    "--mesh",
    type=MeshShape(),
    help='Sizes of the axes "batch" and "model".  [default: those of the run; on an accelerator 1 x all]',
)
@click.option("--platform", default="auto", help="auto, cpu (simulated devices), gpu or tpu.")
@click.option("--devices", type=int, help="How many devices to simulate.  [default: as many as the run's mesh has]")
def command(
    run: str, folder: Path, dtype: str, mesh: tuple[int, int] | None, platform: str, devices: int | None
) -> None:
    """Write the model that a finished RUN trained to a new FOLDER, as a preset.

    KerasHub loads the preset without this kit. The adapters are merged into the weights by the
    parts that the run used. Before anything is written, the merged model is compared with the
    model with adapters.
    """
    from kit.cli.console import ConsoleNarrator

    narrator = ConsoleNarrator()
    show_downloads(narrator)
    with narrator.working("reading the run"):
        _export(run, folder, dtype, mesh, platform, devices, narrator)


def _export(
    run: str,
    folder: Path,
    dtype: str,
    mesh: tuple[int, int] | None,
    platform: str,
    devices: int | None,
    narrator: Narrator,
) -> None:
    from kit.models.presets import find_preset
    from kit.run.options import fitting_mesh
    from kit.runtime import platform as runtime_platform

    target = folder.absolute()
    found = _checked(run, folder, dtype)
    result = found.result
    # An accelerator may not have the devices of the run's mesh.
    if mesh is None and devices is None and runtime_platform.choose_platform(platform) == "cpu":
        mesh = (result.mesh["batch"], result.mesh["model"])
    chosen, simulated = runtime_platform.choose_devices(platform, devices or (mesh and mesh[0] * mesh[1]))
    runtime_platform.prepare_environment(chosen, simulated)
    if chosen == "cpu":
        fitting_mesh(mesh, simulated)
    parts = find_parts(result.implementation, bool(result.filled))
    preset = find_preset(result.preset)
    with narrator.working("importing JAX and Keras", modules_so_far):
        runtime = runtime_platform.start(platform, simulated if chosen == "cpu" else devices, result.settings.seed)
        parts.check()
        from kit.run.export import ExportOptions, export

    options = ExportOptions(found, target, str(folder), preset, dtype, fitting_mesh(mesh, runtime.device_count))
    with failures_of(parts, narrator):
        export(options, runtime, parts, narrator)


def _checked(run: str, folder: Path, dtype: str) -> FinishedRun:
    """The run. The working folder that it was started in becomes this process' own."""
    if dtype not in WEIGHT_DTYPES:
        raise UserError(f"--dtype {dtype}: choose one of {', '.join(WEIGHT_DTYPES)}.")
    if processes_of_environment().connected:
        raise UserError(
            f"kit export runs in one process, and {ADDRESSES} is set: unset Keras' variables for several processes."
        )
    found = open_exportable_run(run)
    if folder.exists():
        raise UserError(f"{folder}: it exists already; give a new folder.")
    parent = next(each for each in folder.absolute().parents if each.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise UserError(f"{folder}: cannot create a folder in {parent}.")
    working_folder = str(found.result.working_folder)
    try:
        os.chdir(working_folder)
    except OSError:
        raise UserError(
            f"{run}: the run was started in {working_folder}, which does not exist any more; its relative paths may "
            "refer to it."
        ) from None
    return found
