"""``kit bundle``."""

import sys
from pathlib import Path

import click


@click.command("bundle")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--python", help="Python of the workshop's machines: 3.11, 3.12 or 3.13.  [default: this one]")
@click.option(
    "--platform",
    help="Platform in pip's notation, such as manylinux_2_31_x86_64 or macosx_14_0_arm64.  [default: this one]",
)
@click.option("--tpu", is_flag=True, help="Include libtpu, for `kit plan` and the TPU compiler's tests (Linux only).")
@click.option("--students", is_flag=True, help="Leave out solutions, examples and author tools.")
@click.option("--without-wheels", is_flag=True, help="With --students: write only the course's files into FOLDER.")
def command(
    folder: Path, python: str | None, platform: str | None, tpu: bool, students: bool, without_wheels: bool
) -> None:
    """Collect in FOLDER everything that a workshop without a network needs.

    This includes wheels, reviews, model, lessons and the course's source tree. Run the command
    again to complete an unfinished bundle, to update a finished one, or, with another --python or
    --platform, to add the wheels for other machines.
    """
    from kit.bundle.folder import make_bundle
    from kit.bundle.targets import find_target
    from kit.bundle.tree import find_root, write_tree
    from kit.cli.console import ConsoleNarrator, print_line
    from kit.errors import UserError
    from kit.formatting import format_bytes

    if without_wheels:
        if not students or python or platform or tpu:
            raise UserError("--without-wheels goes with --students alone: it writes a student's copy of the course.")
        write_tree(find_root(), folder)
        click.echo(f"{folder} is a student's copy of the course, without solutions. Hand it out as it is.")
        return
    target = find_target(python, platform)
    if tpu and (target.system, target.machine) != ("Linux", "x86_64"):
        raise UserError(f"--tpu: libtpu runs on Linux on x86_64 only, and this bundle is for {target.platform}.")
    with ConsoleNarrator(sys.stderr).working("collecting") as work:

        def report(text: str) -> None:
            print_line(text)
            work.begin(text)

        manifest = make_bundle(folder, target, ("tpu",) if tpu else (), report, students)
    for entry in manifest["targets"]:
        click.echo(
            f"{len(entry['wheels'])} wheels, {format_bytes(entry['bytes'])}, for Python {entry['python']} on "
            f"{entry['platform']}"
        )
    if manifest["students"]:
        click.echo("The course in it has no solutions.")
    click.echo(
        f"{folder} is finished. On a machine without a network, run: sh {folder}/install.sh (see START.md in it)."
    )
