"""The public library of checks: call them from your own tests, on your own Keras model.

- ``layout``: rules of a layout map and the bytes that it leaves replicated
- ``placement``: where the weights of a loaded model are
- ``lora``: which parameters LoRA trains
- ``invariance``: the loss on several meshes and on one device
- ``failure``: :class:`CheckFailed`, an AssertionError whose text is the diagnostic
- ``diagnosis`` and ``codes``: what a diagnostic consists of, shared with the course
- ``tables``: the evidence tables of these checks

Names are imported on first use: ``from kit.checks import check_layout_coverage`` imports no
framework. This package may import ``evidence``, ``models`` and what comes before them; it never
imports ``judge`` or ``course``. Keras must run on JAX.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kit.checks.failure import CheckFailed
    from kit.checks.invariance import check_mesh_invariance
    from kit.checks.layout import check_layout_coverage, check_replicated_bytes
    from kit.checks.lora import check_lora_parameters
    from kit.checks.placement import check_placement

__all__ = [
    "CheckFailed",
    "check_layout_coverage",
    "check_lora_parameters",
    "check_mesh_invariance",
    "check_placement",
    "check_replicated_bytes",
]

_MODULES = {
    "CheckFailed": "failure",
    "check_layout_coverage": "layout",
    "check_lora_parameters": "lora",
    "check_mesh_invariance": "invariance",
    "check_placement": "placement",
    "check_replicated_bytes": "layout",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(f"kit.checks.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
