"""The settings of ``make_it_fit``: how they are read, and whether they make a step."""

from dataclasses import dataclass
from typing import Any

from kit.checks.diagnosis import Failed
from kit.models.settings import DTYPES

NAMES = ("mesh", "dtype", "batch_size", "remat")
DEVICES = 8


@dataclass(frozen=True)
class Setting:
    """One value that was returned."""

    #: None if it is no number, text or tuple of numbers.
    value: int | str | bool | tuple[int, ...] | None
    #: Its ``repr``.
    shown: str


@dataclass(frozen=True)
class ChosenSettings:
    """Settings of which a step can be made."""

    mesh: tuple[int, int]
    dtype: str
    batch_size: int
    remat: bool


def read_settings(settings: dict[Any, Any]) -> dict[str, Setting]:
    """A learner's settings as plain data."""
    return {str(name): Setting(_plain(value), repr(value)) for name, value in settings.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple) and all(type(item) is int for item in value):
        return tuple(value)
    if isinstance(value, str):
        return str(value)
    return value if type(value) in (int, bool) else None


def chosen_settings(settings: dict[str, Setting]) -> ChosenSettings:
    """The settings, if a step can be made of them.

    Raises Failed if a name is missing or unknown, or a value is of no use.
    """
    if set(settings) != set(NAMES):
        cause = "`make_it_fit` returned the wrong settings."
        raise Failed(
            "NOT_AS_EXPECTED", cause, ("expected", "yours"), [(", ".join(NAMES), ", ".join(settings) or "none")]
        )
    values: list[Any] = [settings[name].value for name in NAMES]
    mesh, dtype, batch_size, remat = values
    rules = {
        "mesh": ("a tuple of two sizes whose product is 8", _is_mesh(mesh)),
        "dtype": (" or ".join(DTYPES), dtype in DTYPES),
        "batch_size": ("a number above 0", type(batch_size) is int and batch_size > 0),
        "remat": ("True or False", isinstance(remat, bool)),
    }
    wrong = [(name, expected, settings[name].shown) for name, (expected, right) in rules.items() if not right]
    if not wrong and batch_size % mesh[0]:
        wrong = [("batch_size", f"a multiple of {mesh[0]}, the size of the batch axis", repr(batch_size))]
    if wrong:
        raise Failed(
            "NOT_AS_EXPECTED", "These settings do not make a step for a v3-8.", ("setting", "expected", "yours"), wrong
        )
    return ChosenSettings(mesh, dtype, batch_size, remat)


def _is_mesh(mesh: Any) -> bool:
    if not isinstance(mesh, tuple) or len(mesh) != 2:
        return False
    return all(size > 0 for size in mesh) and mesh[0] * mesh[1] == DEVICES
