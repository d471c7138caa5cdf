"""Modules that stand in the way of an installed library, such as a ``keras.py`` on PYTHONPATH."""

import importlib.util
from importlib import metadata
from pathlib import Path

#: The libraries that the checks rest on: module -> distribution.
LIBRARIES = {"keras": "keras", "keras_hub": "keras-hub", "jax": "jax", "numpy": "numpy"}


def foreign_modules() -> dict[str, str]:
    """The libraries that Python would not import from their installation, and the file instead.

    Imports none of them. A library that is not installed, or whose installation has no file of this
    name (as one that is being developed), is not looked at.
    """
    found = {}
    for module, distribution in LIBRARIES.items():
        try:
            installed = Path(str(metadata.distribution(distribution).locate_file(f"{module}/__init__.py")))
        except metadata.PackageNotFoundError:
            continue
        try:
            spec = importlib.util.find_spec(module)
        except (ImportError, ValueError):
            spec = None
        origin = spec.origin if spec is not None else None
        if installed.is_file() and (origin is None or Path(origin).resolve() != installed.resolve()):
            found[module] = origin or "a folder without __init__.py"
    return found
