"""Checks: evidence held against what is expected, and the diagnosis where it differs.

Those of a person's own model are here by name, and are imported when they are asked for: ``from kit.checks import
check_layout_coverage``.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kit.checks.own_model import (
        CheckFailed,
        check_layout_coverage,
        check_lora_parameters,
        check_mesh_invariance,
        check_placement,
        check_replicated_bytes,
    )

__all__ = [
    "CheckFailed",
    "check_layout_coverage",
    "check_lora_parameters",
    "check_mesh_invariance",
    "check_placement",
    "check_replicated_bytes",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from kit.checks import own_model

        return getattr(own_model, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
