"""The settings of ``choose_run``: how they are read, and whether they make a run."""

from dataclasses import dataclass
from typing import Any

from kit.checks.diagnosis import Failed
from kit.models.settings import DTYPES
from kit.tpu.topologies import TOPOLOGIES

NAMES = ("topology", "mesh", "dtype", "rank", "batch_size", "remat", "dollars")
SLICES = ("v5e-8", "v5e-16", "v6e-8", "v5p-8")
#: Query heads of Gemma 7B, which the axis "model" splits.
HEADS = 16


@dataclass(frozen=True)
class Setting:
    """One value that was returned."""

    #: None if it is no number, text or tuple of numbers.
    value: int | float | str | bool | tuple[int, ...] | None
    #: Its ``repr``.
    shown: str


@dataclass(frozen=True)
class ChosenRun:
    """Settings of which a run can be made."""

    topology: str
    mesh: tuple[int, int]
    dtype: str
    rank: int
    batch_size: int
    remat: bool
    dollars: float

    def __str__(self) -> str:
        tuned = f"LoRA of rank {self.rank}" if self.rank else "all parameters"
        again = ", remat" if self.remat else ""
        return f"{self.topology}, mesh {self.mesh}, {self.dtype}, {tuned}, {self.batch_size} texts{again}"


def read_settings(settings: dict[Any, Any]) -> dict[str, Setting]:
    """A learner's settings as plain data."""
    return {str(name): Setting(_plain(value), repr(value)) for name, value in settings.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple) and all(type(item) is int for item in value):
        return tuple(value)
    if isinstance(value, str):
        return str(value)
    return value if type(value) in (int, float, bool) else None


def chosen_run(settings: dict[str, Setting]) -> ChosenRun:
    """The settings, if a run can be made of them.

    Raises Failed if a name is missing or unknown, or a value is of no use.
    """
    if set(settings) != set(NAMES):
        cause = "`choose_run` returned other settings than the docstring names."
        rows = [(", ".join(NAMES), ", ".join(settings) or "none")]
        raise Failed("NOT_AS_EXPECTED", cause, ("expected", "yours"), rows)
    values: list[Any] = [settings[name].value for name in NAMES]
    topology, mesh, dtype, rank, batch_size, remat, dollars = values
    devices = TOPOLOGIES[topology].devices if topology in SLICES else 0
    rules = {
        "topology": (" or ".join(SLICES), topology in SLICES),
        "mesh": (f"a tuple of two sizes whose product is {devices}", not devices or _is_mesh(mesh, devices)),
        "dtype": (" or ".join(DTYPES), dtype in DTYPES),
        "rank": ("a number that is not negative", type(rank) is int and rank >= 0),
        "batch_size": ("a number above 0", type(batch_size) is int and batch_size > 0),
        "remat": ("True or False", isinstance(remat, bool)),
        "dollars": ("a number", type(dollars) in (int, float)),
    }
    wrong = [(name, expected, settings[name].shown) for name, (expected, right) in rules.items() if not right]
    if not wrong and batch_size % mesh[0]:
        wrong = [("batch_size", f"a multiple of {mesh[0]}, the size of the batch axis", repr(batch_size))]
    if not wrong and HEADS % mesh[1]:
        wrong = [("mesh", f'an axis "model" that divides {HEADS} heads', repr(mesh))]
    if wrong:
        raise Failed("NOT_AS_EXPECTED", "These settings do not make a run.", ("setting", "expected", "yours"), wrong)
    return ChosenRun(topology, mesh, dtype, rank, batch_size, remat, float(dollars))


def _is_mesh(mesh: Any, devices: int) -> bool:
    if not isinstance(mesh, tuple) or len(mesh) != 2:
        return False
    return all(size > 0 for size in mesh) and mesh[0] * mesh[1] == devices
