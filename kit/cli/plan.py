"""``kit plan``."""

import contextlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kit.cli.own_model import plan_own_model, read_batch, refuse_given
from kit.cli.run import MeshShape, failure
from kit.errors import UserError
from kit.models.settings import DTYPES
from kit.models.user_functions import is_function_name
from kit.narrator import Narrator, modules_so_far
from kit.parts.implementation import REFERENCE, Parts, find_parts
from kit.tpu.topologies import DEFAULT_TOPOLOGY, NAME_HEADS, TOPOLOGIES, Topology, find_topology, table_of_names

if TYPE_CHECKING:
    import keras_hub

    from kit.tpu.plan import Plan
    from kit.tpu.step import StepParts, StepSettings


class LayerNumbers(click.ParamType):
    """``all``, ``2`` or ``2,4``."""

    name = "all|N|N,M"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """No number for ``all``, one number, or two in ascending order."""
        if isinstance(value, tuple):
            return value
        if value == "all":
            return ()
        texts = str(value).split(",")
        numbers = tuple(int(text) for text in texts if text.isdigit())
        ascending = sorted(set(numbers)) == [*numbers]
        if len(numbers) != len(texts) or not 1 <= len(numbers) <= 2 or 0 in numbers or not ascending:
            raise UserError(
                f"--layers {value}: give `all`, a number of decoder blocks such as 2, or two in ascending order, "
                "such as 2,4."
            )
        return numbers


@dataclass(frozen=True)
class _Candidate:
    """What is planned: an implementation with a layout, on a mesh."""

    #: As it is shown.
    name: str
    impl: str
    layout: str
    mesh: tuple[int, int]


@dataclass(frozen=True)
class _Request:
    """What to plan, for any candidate."""

    preset: str
    config: dict[str, Any]
    topology: Topology
    settings: "StepSettings"
    layers: tuple[int, ...]
    effort: str
    #: One, or two to compare.
    candidates: tuple[_Candidate, ...]


@click.command("plan", context_settings={"show_default": True})
@click.argument("preset", default="gemma_7b_en")
@click.option("--topology", "topology_name", default=DEFAULT_TOPOLOGY, help=f"{', '.join(TOPOLOGIES)}.")
@click.option("--topologies", is_flag=True, help="Show what these names mean in chips, cores, devices and hosts.")
@click.option("--mesh", type=MeshShape(), help='Sizes of the axes "batch" and "model".  [default: 1 x all devices]')
@click.option("--impl", default=REFERENCE, help="Whose layout and training: reference, exercises, or a folder.")
@click.option(
    "--layout",
    default="tensor",
    help='Split matrices over the axis "model" (tensor), or over "batch" as well (fsdp); for your own model '
    "FILE.py:FUNCTION, which takes a device mesh.",
)
@click.option(
    "--compare",
    nargs=2,
    metavar="A B",
    help="Plan two implementations or layouts, and show which rules differ and which sends less.",
)
@click.option("--rank", type=int, default=4, help="Rank of LoRA; 0 tunes all parameters.")
@click.option(
    "--batch",
    metavar="8x512|FILE.py:FUNCTION",
    help="Sizes of the batch's first dimensions; for your own model also a function that returns a batch.",
)
@click.option("--batch-size", type=int, default=2, help="Examples per batch.")
@click.option("--sequence-length", type=int, default=128, help="Tokens per example.")
@click.option("--dtype", default="float32", help="float32, bfloat16 or mixed_bfloat16.")
@click.option("--remat", is_flag=True, help="Recompute each block's activations in the backward pass.")
@click.option(
    "--layers",
    type=LayerNumbers(),
    default="all",
    help="Compile all decoder blocks; N blocks; or N and M blocks, and extrapolate.",
)
@click.option(
    "--effort",
    type=click.Choice(("auto", "full", "quick")),
    default="auto",
    help="full: the program of `fit`; quick: an estimate in half the time; auto: quick on one device, unless it is "
    "uncertain whether the step fits.",
)
@click.option("--picture", type=click.Path(path_type=Path, dir_okay=False), help="Draw the plan: a .svg or .png file.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, and nothing else, to standard output.")
@click.pass_context
def command(
    context: click.Context, /, preset: str, topologies: bool, picture: Path | None, as_json: bool, **options: Any
) -> None:
    """Compile the training step of PRESET for a TPU, without a TPU and without weights.

    The plan shows the memory of one device and whether the step fits, the collectives with the
    layout rules that cause them, and the compiler's estimate of the step time. PRESET is a name
    such as gemma_7b_en, which is the default, a folder with its config.json, or hf://owner/model.
    FILE.py:FUNCTION or module:function plans your own model: the function builds and compiles it.
    """
    if topologies:
        _show_topologies()
        return
    from kit.cli.console import ConsoleNarrator

    # Standard output has only the plan.
    narrator = ConsoleNarrator(sys.stderr)
    redirected = contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext()
    with redirected, narrator.working("reading the options"):
        if picture is not None:
            _check_picture(picture)
        if is_function_name(preset):
            names, plans = plan_own_model(preset, context, narrator, **options)
        else:
            request = _request(preset, narrator, **_sizes(context, **options))
            names = [candidate.name for candidate in request.candidates]
            plans = [_plan(request, candidate, narrator) for candidate in request.candidates]
    if picture is not None:
        from kit.report.plan_picture import draw

        draw(plans[-1], preset, picture)
    if as_json:
        click.echo(json.dumps(_content(plans), indent=1))
    else:
        _show(preset, names, plans)
    if picture is not None:
        click.echo(f"The picture is in {picture}.", err=True)


def _sizes(context: click.Context, batch: str | None, **options: Any) -> dict[str, Any]:
    """The options with ``--batch 8x512`` in the place of two others."""
    if batch is None:
        return options
    refuse_given(context, ("batch_size", "sequence_length"), "--batch has both")
    sizes = read_batch(batch)
    if not isinstance(sizes, tuple) or len(sizes) != 2:
        raise UserError(f"--batch {batch}: for a preset, write examples x tokens, such as 8x512.")
    return options | {"batch_size": sizes[0], "sequence_length": sizes[1]}


def _content(plans: "Sequence[Plan]") -> dict[str, Any]:
    """For ``--json``: a plan, or two and their differences."""
    from kit.tpu.comparison import compare
    from kit.tpu.plan_json import as_json

    if len(plans) == 1:
        return as_json(plans[0])
    differences = [asdict(difference) for difference in compare(plans[0], plans[1])]
    return {"a": as_json(plans[0]), "b": as_json(plans[1]), "differences": differences}


def _show(preset: str, names: Sequence[str], plans: "Sequence[Plan]") -> None:
    from kit.cli.show_plan import show_comparison, show_plan
    from kit.tpu.comparison import compare

    if len(plans) == 1:
        show_plan(preset, plans[0], f"{'Layout' if plans[0].own else 'Parts'}: {names[0]}")
    else:
        show_comparison(preset, names, plans, compare(plans[0], plans[1]))


def _request(
    preset: str,
    narrator: Narrator,
    /,
    topology_name: str,
    mesh: tuple[int, int] | None,
    impl: str,
    layout: str,
    compare: tuple[str, str] | None,
    rank: int,
    batch_size: int,
    sequence_length: int,
    dtype: str,
    remat: bool,
    layers: tuple[int, ...],
    effort: str,
) -> _Request:
    """Check the options, then set as many simulated devices as the topology has."""
    from kit.runtime.platform import prepare_environment
    from kit.tpu.compiler import require_libtpu

    topology = find_topology(topology_name)
    for option, value, least in (
        ("--rank", rank, 0),
        ("--batch-size", batch_size, 1),
        ("--sequence-length", sequence_length, 1),
    ):
        if value < least:
            raise UserError(f"{option} {value}: it must be at least {least}.")
    candidates = tuple(_candidate(name, layout, mesh, topology) for name in compare or (impl,))
    for candidate in candidates:
        _check_mesh(candidate, topology, batch_size)
        _check_layout_is_written(candidate.impl)
    if dtype not in DTYPES:
        raise UserError(f"--dtype {dtype}: choose one of {', '.join(DTYPES)}.")
    prepare_environment("cpu", topology.devices)
    from kit.models.architectures import find_architecture
    from kit.models.blocks import check_extrapolation

    config = find_architecture(preset)
    blocks = config["config"]["num_layers"]
    if layers and max(layers) > blocks:
        raise UserError(f"--layers {','.join(map(str, layers))}: {preset} has {blocks} decoder blocks.")
    if len(layers) > 1:
        check_extrapolation(config, layers)
    require_libtpu()
    with narrator.working("importing JAX and Keras", modules_so_far):
        from kit.tpu.step import StepSettings

    settings = StepSettings(candidates[0].mesh, rank, batch_size, sequence_length, dtype, remat)
    return _Request(preset, config, topology, settings, layers, effort, candidates)


def _candidate(name: str, layout: str, mesh: tuple[int, int] | None, topology: Topology) -> _Candidate:
    """An implementation with the layout of ``--layout``, or the reference with a layout."""
    from kit.run.options import LAYOUTS, default_mesh

    impl, layout = (REFERENCE, name) if name in LAYOUTS else (name, layout)
    return _Candidate(name, impl, layout, mesh or default_mesh(layout, topology.devices))


def _check_mesh(candidate: _Candidate, topology: Topology, batch_size: int) -> None:
    from kit.run.options import check_layout

    (batch, model), count = candidate.mesh, candidate.mesh[0] * candidate.mesh[1]
    if count != topology.devices:
        raise UserError(
            f"--mesh {batch}x{model}: it needs {count} devices, but a {topology.name} has {topology.devices}"
            + (" (the two cores of a chip are one device)." if topology.cores > topology.devices else ".")
        )
    check_layout(candidate.layout, candidate.mesh)
    if batch_size % batch:
        raise UserError(
            f"--batch-size {batch_size}: the mesh {batch}x{model} splits a batch into {batch} equal parts; choose a "
            f"multiple of {batch}."
        )


def _check_layout_is_written(impl: str) -> None:
    parts = find_parts(impl, filled=True)
    if impl != REFERENCE and (not parts.file_of("layout").is_file() or parts.is_open("layout", "gemma_layout_map")):
        raise UserError(f"--impl {impl}: implement layout.gemma_layout_map first: a plan needs a layout.")


def _plan(request: _Request, candidate: _Candidate, narrator: Narrator) -> "Plan":
    from kit.tpu.plan import make_plan

    impl, parts = candidate.impl, find_parts(candidate.impl, filled=True)
    settings = replace(request.settings, mesh=candidate.mesh)
    try:
        with narrator.working(f"planning {candidate.name}") as work:
            return make_plan(
                request.config,
                request.topology,
                settings,
                _step_parts(request, settings, candidate, parts, narrator),
                request.layers,
                work.begin,
                request.effort,
            )
    except UserError:
        raise
    except Exception as error:
        if impl == REFERENCE:
            raise
        raise UserError(failure(error, parts, "the plan")) from error


def _step_parts(
    request: _Request, settings: "StepSettings", candidate: _Candidate, parts: Parts, narrator: Narrator
) -> "StepParts":
    """The functions of these parts, and the reference's for modules that they do not have."""
    from kit.run.layouts import choose_layout
    from kit.run.lora_targets import lora_targets_must_exist
    from kit.run.small_updates import keep_small_updates
    from kit.tpu.step import StepParts

    def source(part: str) -> Parts:
        return parts if parts.file_of(part).is_file() else find_parts(REFERENCE)

    layout = choose_layout(source("layout"), request.config, candidate.mesh, candidate.layout)
    if layout.sentence:
        narrator.say(layout.sentence)
    training = source("training").training
    reported: set[str] = set()

    def compile_for_finetuning(model: "keras_hub.models.CausalLM", learning_rate: float, weight_decay: float) -> None:
        # As `kit run` does, between LoRA and the optimizer. A plan may lower more than one step.
        sentence = keep_small_updates(model, parts, settings.dtype, settings.rank)
        if sentence and sentence not in reported:
            narrator.say(sentence)
            reported.add(sentence)
        training.compile_for_finetuning(model, learning_rate, weight_decay)

    def enable_lora(model: "keras_hub.models.CausalLM", rank: int) -> None:
        with lora_targets_must_exist():
            source("lora").lora.enable_lora(model, rank)

    return StepParts(layout.make, enable_lora, compile_for_finetuning)


def _show_topologies() -> None:
    from kit.cli.console import make_console, plain_table

    table = plain_table()
    for head in NAME_HEADS:
        table.add_column(head)
    for row in table_of_names():
        table.add_row(*row)
    make_console().print(table)


def _check_picture(file: Path) -> None:
    if file.suffix not in (".svg", ".png"):
        raise UserError(f"--picture {file}: the name must end in .svg or .png.")
    if not file.resolve().parent.is_dir():
        raise UserError(f"--picture {file}: there is no folder {file.parent}.")
