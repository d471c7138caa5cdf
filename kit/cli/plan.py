"""``kit plan``."""

import contextlib
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kit.cli.run import MeshShape, failure
from kit.errors import UserError
from kit.models.settings import DTYPES
from kit.parts.implementation import REFERENCE, Parts, find_parts

if TYPE_CHECKING:
    from kit.tpu.plan import Plan
    from kit.tpu.step import StepParts


class LayerNumbers(click.ParamType):
    """``all``, ``2`` or ``2,4``."""

    name = "all|N|N,M"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """No number, one, or two that rise."""
        if isinstance(value, tuple):
            return value
        if value == "all":
            return ()
        texts = str(value).split(",")
        numbers = tuple(int(text) for text in texts if text.isdigit())
        if (
            len(numbers) != len(texts)
            or not 1 <= len(numbers) <= 2
            or 0 in numbers
            or sorted(set(numbers)) != [*numbers]
        ):
            raise UserError(
                f"--layers {value}: it is `all`, a number of decoder blocks such as 2, or two that rise, such as 2,4."
            )
        return numbers


@dataclass(frozen=True)
class _Asked:
    """What is planned, but for whose parts."""

    name: str
    config: dict[str, Any]
    topology: Any
    settings: Any
    layers: tuple[int, ...]


@click.command("plan", context_settings={"show_default": True})
@click.argument("preset")
@click.option("--topology", "topology_name", default="v3-8", help="v2-8, v3-8, v4-8, v5e-4, v5e-8, v5p-8 or v6e-8.")
@click.option("--mesh", type=MeshShape(), help='Sizes of the axes "batch" and "model".  [default: 1 x all devices]')
@click.option("--impl", default=REFERENCE, help="Whose layout and training: reference, exercises, or a folder.")
@click.option(
    "--compare", nargs=2, metavar="A B", help="Plan two implementations, and say which rule makes the difference."
)
@click.option("--rank", type=int, default=4, help="Rank of LoRA; 0 tunes all parameters.")
@click.option("--batch-size", type=int, default=2, help="Examples in a batch.")
@click.option("--sequence-length", type=int, default=128, help="Tokens of an example.")
@click.option("--dtype", default="float32", help="float32, bfloat16 or mixed_bfloat16.")
@click.option("--remat", is_flag=True, help="Keep no activations within a decoder block; compute them once more.")
@click.option(
    "--layers",
    type=LayerNumbers(),
    default="all",
    help="Compile all decoder blocks, N, or N and M and go on in a straight line.",
)
@click.option("--picture", type=click.Path(path_type=Path, dir_okay=False), help="Write a picture of it, .svg or .png.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, and nothing else, to standard output.")
def command(
    preset: str,
    topology_name: str,
    mesh: tuple[int, int] | None,
    impl: str,
    compare: tuple[str, str] | None,
    rank: int,
    batch_size: int,
    sequence_length: int,
    dtype: str,
    remat: bool,
    layers: tuple[int, ...],
    picture: Path | None,
    as_json: bool,
) -> None:
    """Compile the training step of PRESET for a TPU, without a TPU and without weights.

    Says what a device holds, whether that fits, what the devices send each other and because of which layout rule, and
    how long the compiler thinks that a step takes. PRESET is a name such as gemma_7b_en, or a preset's folder.
    """
    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        asked = _asked(preset, topology_name, mesh, rank, batch_size, sequence_length, dtype, remat, layers)
        if picture is not None:
            _check_picture(picture)
        names = compare or (impl,)
        plans = [_plan(asked, name, said=not as_json) for name in names]
    from kit.cli.show_plan import show_comparison, show_plan
    from kit.tpu.plan import as_json as plan_as_json
    from kit.tpu.plan import compare as compare_plans

    if picture is not None:
        from kit.report.plan_picture import draw

        draw(plans[-1], asked.name, picture)
    if as_json:
        content = plan_as_json(plans[0])
        if compare:
            differences = [asdict(difference) for difference in compare_plans(plans[0], plans[1])]
            content = {"a": content, "b": plan_as_json(plans[1]), "differences": differences}
        click.echo(json.dumps(content, indent=1))
    elif compare:
        show_comparison(asked.name, names, plans, compare_plans(plans[0], plans[1]))
    else:
        show_plan(asked.name, plans[0], impl)
    if picture is not None:
        click.echo(f"The picture is in {picture}.", err=True)


def _asked(
    preset: str,
    topology_name: str,
    mesh: tuple[int, int] | None,
    rank: int,
    batch_size: int,
    sequence_length: int,
    dtype: str,
    remat: bool,
    layers: tuple[int, ...],
) -> _Asked:
    """Check what can be checked before jax is imported, and then start it with as many devices as the topology has."""
    from kit.runtime.platform import prepare_environment
    from kit.tpu.compiler import require_libtpu
    from kit.tpu.topologies import find_topology

    topology = find_topology(topology_name)
    mesh = mesh or (1, topology.devices)
    if mesh[0] * mesh[1] != topology.devices:
        raise UserError(
            f"--mesh {mesh[0]}x{mesh[1]}: that takes {mesh[0] * mesh[1]} devices, and a {topology.name} has {topology.devices}"
            + (" (the two cores of a chip are one device)." if topology.name in ("v4-8", "v5p-8") else ".")
        )
    for option, value, least in (
        ("--rank", rank, 0),
        ("--batch-size", batch_size, 1),
        ("--sequence-length", sequence_length, 1),
    ):
        if value < least:
            raise UserError(f"{option} {value}: it must be at least {least}.")
    if batch_size % mesh[0]:
        raise UserError(
            f"--batch-size {batch_size}: the mesh {mesh[0]}x{mesh[1]} splits a batch into {mesh[0]} equal parts; choose a multiple "
            f"of {mesh[0]}."
        )
    if dtype not in DTYPES:
        raise UserError(f"--dtype {dtype}: choose one of {', '.join(DTYPES)}.")
    require_libtpu()
    prepare_environment("cpu", topology.devices)
    from kit.models.architectures import find_architecture
    from kit.tpu.step import StepSettings

    config = find_architecture(preset)
    blocks = config["config"]["num_layers"]
    if layers and max(layers) > blocks:
        raise UserError(f"--layers {','.join(map(str, layers))}: {preset} has {blocks} decoder blocks.")
    settings = StepSettings(mesh, rank, batch_size, sequence_length, dtype, remat)
    return _Asked(preset, config, topology, settings, layers)


def _plan(asked: _Asked, impl: str, said: bool) -> "Plan":
    from kit.tpu.plan import make_plan

    parts = find_parts(impl, filled=True)
    layout_is_open = not parts.file_of("layout").is_file() or parts.is_open("layout", "gemma_layout_map")
    if impl != REFERENCE and layout_is_open:
        raise UserError(f"--impl {impl}: layout.gemma_layout_map is still to be written, and a plan is of a layout.")
    try:
        return make_plan(
            asked.config,
            asked.topology,
            asked.settings,
            _step_parts(asked, parts),
            asked.layers,
            _say if said else lambda text: None,
        )
    except UserError:
        raise
    except Exception as error:
        if impl == REFERENCE:
            raise
        raise UserError(failure(error, parts, "the plan")) from error


def _step_parts(asked: _Asked, parts: Parts) -> "StepParts":
    """Their layout, and what they have of the rest; what is still to be written comes from the reference."""
    from kit.run.small_updates import keep_small_updates
    from kit.models.known_layouts import find_layout
    from kit.tpu.step import StepParts

    reference = find_parts(REFERENCE)
    theirs = {
        part: getattr(parts if parts.file_of(part).is_file() else reference, part)
        for part in ("layout", "lora", "training")
    }
    layout = theirs["layout"].gemma_layout_map
    if parts.name == REFERENCE:
        # Where key and value have fewer heads than the axis has devices, the tutorial's rules cannot be used.
        layout = find_layout(asked.name, asked.settings.mesh) or layout
    told: set[str] = set()

    def compile_for_finetuning(model: Any, learning_rate: float, weight_decay: float) -> None:
        # As `kit run` does, between LoRA and the optimizer. More than one step may be lowered for a plan.
        sentence = keep_small_updates(model, parts, asked.settings.dtype, asked.settings.rank)
        if sentence and sentence not in told:
            _say(sentence)
            told.add(sentence)
        theirs["training"].compile_for_finetuning(model, learning_rate, weight_decay)

    return StepParts(layout, theirs["lora"].enable_lora, compile_for_finetuning)


def _say(text: str) -> None:
    click.echo(f"… {text}", err=True)


def _check_picture(file: Path) -> None:
    if file.suffix not in (".svg", ".png"):
        raise UserError(f"--picture {file}: its name ends in .svg or .png.")
    if not file.resolve().parent.is_dir():
        raise UserError(f"--picture {file}: there is no folder {file.parent}.")
