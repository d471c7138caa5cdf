"""The public library of checks: call them from your own tests, on your own Keras model.

- ``layout``: rules of a layout map and the bytes that it leaves replicated
- ``placement``: where the weights of a loaded model are
- ``lora``: which parameters LoRA trains
- ``invariance``: the loss on several meshes and on one device
- ``loaded``: whether each weight has the value in the file
- ``program``: collectives and memory of the compiled step
- ``training``: whether what is trainable trains, and nothing else
- ``resuming``: whether a resumed run is the uninterrupted one
- ``device_order``: whether anything depends on the order of the devices
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
    from kit.checks.device_order import check_device_order
    from kit.checks.failure import CheckFailed
    from kit.checks.invariance import check_mesh_invariance
    from kit.checks.layout import check_layout_coverage, check_replicated_bytes
    from kit.checks.loaded import check_loaded
    from kit.checks.lora import check_lora_parameters
    from kit.checks.placement import check_placement
    from kit.checks.program import check_collectives, check_memory
    from kit.checks.resuming import check_resumes
    from kit.checks.training import check_trains

__all__ = [
    "CheckFailed",
    "check_collectives",
    "check_device_order",
    "check_layout_coverage",
    "check_loaded",
    "check_lora_parameters",
    "check_memory",
    "check_mesh_invariance",
    "check_placement",
    "check_replicated_bytes",
    "check_resumes",
    "check_trains",
]

_MODULES = {
    "CheckFailed": "failure",
    "check_collectives": "program",
    "check_device_order": "device_order",
    "check_layout_coverage": "layout",
    "check_loaded": "loaded",
    "check_lora_parameters": "lora",
    "check_memory": "program",
    "check_mesh_invariance": "invariance",
    "check_placement": "placement",
    "check_replicated_bytes": "layout",
    "check_resumes": "resuming",
    "check_trains": "training",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(f"kit.checks.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
