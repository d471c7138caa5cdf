"""The user's own model on the command line: ``FILE.py:FUNCTION`` with its options."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from kit.errors import UserError
from kit.models.user_functions import UserFunction, find_function, is_function_name
from kit.narrator import Narrator, modules_so_far
from kit.tpu.topologies import find_topology

if TYPE_CHECKING:
    from kit.tpu.own_step import OwnModel
    from kit.tpu.plan import Plan

#: Options of `kit plan` that say how a preset's model is made, in the order of `kit plan --help`.
OF_A_PRESET = ("impl", "rank", "batch_size", "sequence_length", "dtype", "remat", "layers")


def refuse_given(context: click.Context, names: Sequence[str], why: str) -> None:
    """Raises UserError if one of these options is on the command line."""
    for name in names:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise UserError(f"--{name.replace('_', '-')}: {why}; leave it out.")


def read_batch(text: str | None) -> tuple[int, ...] | str:
    """Sizes such as ``8x512``, or the name of a function. Raises UserError for anything else."""
    if text is None:
        raise UserError("--batch: say how large a batch is, such as `--batch 8x512`, or `--batch FILE.py:FUNCTION`.")
    if re.fullmatch(r"[1-9]\d*(x[1-9]\d*)*", text):
        return tuple(int(size) for size in text.split("x"))
    if is_function_name(text):
        return text
    raise UserError(f"--batch {text}: write sizes, such as 8x512, or FILE.py:FUNCTION.")


def prepare(devices: int, narrator: Narrator) -> None:
    """Simulate this number of devices, and import JAX and Keras."""
    from kit.runtime.platform import prepare_environment

    prepare_environment("cpu", devices)
    with narrator.working("importing JAX and Keras", modules_so_far):
        import kit.tpu.own_step  # noqa: F401


def own_model(
    model: str, layout: str | None, batch: tuple[int, ...] | str, mesh: tuple[int, int] | None, narrator: Narrator
) -> "OwnModel":
    """Import the user's functions. Raises UserError if one does not exist."""
    from kit.tpu.own_step import OwnModel

    def found(text: str) -> UserFunction:
        with narrator.working(f"importing {text.rpartition(':')[0]}"):
            return find_function(text)

    make_batch = found(batch) if isinstance(batch, str) else batch
    axes = None if mesh is None else {"batch": mesh[0], "model": mesh[1]}
    return OwnModel(found(model), make_batch, found(layout) if layout else None, axes)


def check_layout_name(option: str, layout: str) -> None:
    """Raises UserError if a layout is not named by a function."""
    if not is_function_name(layout):
        raise UserError(f"{option} {layout}: for your own model, write FILE.py:FUNCTION, which takes a device mesh.")


def plan_own_model(
    model: str,
    context: click.Context,
    narrator: Narrator,
    /,
    topology_name: str,
    mesh: tuple[int, int] | None,
    layout: str,
    compare: tuple[str, str] | None,
    batch: str | None,
    effort: str,
    **others: Any,
) -> "tuple[list[str], list[Plan]]":
    """The names of the layouts that are planned, and their plans: one, or two to compare."""
    del others
    refuse_given(context, OF_A_PRESET, f"{model} decides it")
    topology = find_topology(topology_name)
    given = context.get_parameter_source("layout") is ParameterSource.COMMANDLINE
    layouts: list[str | None] = list(compare) if compare else [layout if given else None]
    for name in layouts:
        if name is not None:
            check_layout_name("--compare" if compare else "--layout", name)
    sizes = read_batch(batch)
    prepare(topology.devices, narrator)
    from kit.tpu.compiler import require_libtpu
    from kit.tpu.plan import make_own_plan

    models = [own_model(model, name, sizes, mesh, narrator) for name in layouts]
    require_libtpu()
    plans = []
    for name, own in zip(layouts, models, strict=True):
        with narrator.working(f"planning {name or model}") as work:
            plans.append(make_own_plan(own, topology, work.begin, effort))
    return [name or f"as {model} sets it" for name in layouts], plans
