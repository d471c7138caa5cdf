"""``kit bundle``."""

from pathlib import Path

import click


@click.command("bundle")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--python", help="The Python of the room: 3.11, 3.12 or 3.13.  [default: this one]")
@click.option(
    "--platform",
    help="As pip names it, such as manylinux_2_31_x86_64 or macosx_14_0_arm64.  [default: like this machine]",
)
@click.option(
    "--tpu", is_flag=True, help="With libtpu, for `kit plan` and the tests by the TPU compiler (Linux alone)."
)
def command(folder: Path, python: str | None, platform: str | None, tpu: bool) -> None:
    """Collect in FOLDER all that a workshop without a network needs: wheels, reviews, model, lessons and the course's tree.

    Run again, it goes on with an unfinished bundle, brings a finished one up to date, and with another --python or --platform
    adds the wheels for those machines.
    """
    from kit.bundle.folder import make_bundle
    from kit.bundle.targets import find_target
    from kit.errors import UserError
    from kit.narrator import as_bytes

    target = find_target(python, platform)
    if tpu and (target.system, target.machine) != ("Linux", "x86_64"):
        raise UserError(f"--tpu: libtpu is for Linux on x86_64, and this bundle is for {target.platform}.")
    manifest = make_bundle(folder, target, ("tpu",) if tpu else (), click.echo)
    for entry in manifest["targets"]:
        click.echo(
            f"{len(entry['wheels'])} wheels, {as_bytes(entry['bytes'])}, for Python {entry['python']} on {entry['platform']}"
        )
    click.echo(f"{folder} is finished. In the room: sh {folder}/install.sh (START.md in it says more).")
