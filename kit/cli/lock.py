"""``kit lock``."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kit.cli.own_model import check_layout_name, own_model, prepare, read_batch, refuse_given
from kit.cli.run import MeshShape
from kit.errors import UserError
from kit.models.user_functions import is_function_name
from kit.narrator import Narrator
from kit.tpu.topologies import DEFAULT_TOPOLOGY, TOPOLOGIES, find_topology

if TYPE_CHECKING:
    from kit.lock.content import Lock

#: Options that a lock has in its file.
IN_THE_FILE = ("layout", "batch", "mesh", "topology_names")


@click.command("lock", context_settings={"show_default": True})
@click.argument("model", required=False, metavar="FILE.py:FUNCTION")
@click.option("--layout", metavar="FILE.py:FUNCTION", help="Makes the layout map, unless MODEL sets a distribution.")
@click.option("--batch", metavar="8x512|FILE.py:FUNCTION", help="Sizes of the batch, or a function that returns one.")
@click.option("--mesh", type=MeshShape(), help='Sizes of the axes "batch" and "model".  [default: 1 x all devices]')
@click.option(
    "--topology",
    "topology_names",
    multiple=True,
    default=(DEFAULT_TOPOLOGY,),
    help=f"{', '.join(TOPOLOGIES)}. You may give several of as many devices.",
)
@click.option("--no-compile", is_flag=True, help="Rules and bytes only: a few seconds, without the TPU compiler.")
@click.option(
    "--file", type=click.Path(path_type=Path, dir_okay=False), default=Path("sharding.lock"), help="The lock."
)
@click.option("--check", is_flag=True, help="Compare the lock with today's model: exit code 1 if they differ.")
@click.pass_context
def command(
    context: click.Context,
    /,
    model: str | None,
    no_compile: bool,
    file: Path,
    check: bool,
    **options: Any,
) -> None:
    """Write what a layout map does to your model into sharding.lock, or check that it still does.

    A lock has what each rule matches, bytes per device, what is replicated, and the collectives and
    the peak by the TPU compiler. You need no TPU, and no memory for weights. FUNCTION builds and
    compiles a Keras model. Commit the lock: `kit lock --check` says what a change does to it.
    """
    from kit.cli.console import ConsoleNarrator

    narrator = ConsoleNarrator(sys.stderr)
    if check:
        refuse_given(context, IN_THE_FILE, "`kit lock --check` takes it from the lock")
        if model is not None:
            raise UserError(f"{model}: `kit lock --check` takes the model from {file}; leave it out.")
        _check(file, no_compile, narrator)
        return
    if model is None:
        raise UserError("kit lock: name the function that builds your model, as FILE.py:FUNCTION.")
    _write(model, no_compile, file, narrator, **options)


def _check(file: Path, no_compile: bool, narrator: Narrator) -> None:
    from kit.lock.toml_file import read_lock

    lock = read_lock(file)
    compiles = bool(lock.compiled) and not no_compile
    if compiles:
        from kit.tpu.compiler import require_libtpu

        require_libtpu()
    prepare(lock.devices, narrator)
    from kit.lock.checking import check_lock, report_of

    with narrator.working("checking the lock") as work:
        comparison = check_lock(lock, file.resolve().parent, compiles, work.begin)
    _print(report_of(comparison, str(file)))
    if comparison.differences:
        sys.exit(1)


def _write(
    model: str,
    no_compile: bool,
    file: Path,
    narrator: Narrator,
    /,
    layout: str | None,
    batch: str | None,
    mesh: tuple[int, int] | None,
    topology_names: tuple[str, ...],
) -> None:
    if not is_function_name(model):
        raise UserError(f"{model}: `kit lock` is for your own model: write FILE.py:FUNCTION or module:function.")
    if layout is not None:
        check_layout_name("--layout", layout)
    sizes = read_batch(batch)
    if not file.resolve().parent.is_dir():
        raise UserError(f"--file {file}: there is no folder {file.parent}.")
    topologies = [find_topology(name) for name in dict.fromkeys(topology_names)]
    if len({topology.devices for topology in topologies}) > 1:
        counts = ", ".join(f"{topology.name} has {topology.devices}" for topology in topologies)
        raise UserError(f"--topology: a layout map is for one number of devices, but {counts}.")
    prepare(topologies[0].devices, narrator)
    from kit.lock.content import Source
    from kit.lock.measuring import measure

    own = own_model(model, layout, sizes, mesh, narrator)
    if not no_compile:
        from kit.tpu.compiler import require_libtpu

        require_libtpu()
    named = (_from_folder(model, file), _from_folder(batch or "", file), _from_folder(layout or "", file))
    source = Source(*named, mesh="x".join(map(str, mesh)) if mesh else "")
    with narrator.working("measuring") as work:
        lock = measure(own, source, topologies=[] if no_compile else topologies, report=work.begin)
    _save(lock, file)


def _from_folder(text: str, file: Path) -> str:
    """The name of a function with its file as seen from the lock's folder."""
    where, colon, name = text.rpartition(":")
    return f"{os.path.relpath(where, file.resolve().parent)}{colon}{name}" if where.endswith(".py") else text


def _save(lock: "Lock", file: Path) -> None:
    from kit.files import write_text
    from kit.lock.checking import summary_of
    from kit.lock.toml_file import read_lock, write_lock

    before = None
    if file.is_file():
        try:
            before = read_lock(file)
        except UserError:
            before = None
    write_text(file, write_lock(lock))
    _print(summary_of(lock, before, str(file)))


def _print(text: str) -> None:
    """Print lines, wrapped on a terminal, with what follows a dash below its text."""
    from kit.cli.console import ConsoleNarrator

    narrator = ConsoleNarrator()
    for line in text.splitlines():
        words = line.lstrip(" -")
        before = line[: len(line) - len(words)]
        narrator.paragraph(words, before, " " * len(before))
