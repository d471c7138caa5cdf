"""Guards of a check's process: a solution must not change a library, or start JAX on import."""

import builtins
import linecache
import operator
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType, FunctionType, ModuleType
from typing import Any

from kit.checks.diagnosis import Failed

#: Libraries that a solution uses and must not change.
GUARDED = ("builtins", "pytest", "_pytest", "numpy", "jax", "keras", "keras_hub", "kit")

#: Packages with the solution and what the checks compare with.
CLOSED = ("kit.reference", "kit.course", "kit.judge")

#: The contents of the libraries' modules and classes before a solution was imported: namespace,
#: name, values.
_before: list[tuple[Mapping[str, Any], str, tuple[Any, ...]]] = []
_remembered: set[str] = set()


def remember_libraries() -> None:
    """Note the contents of imported modules and classes of libraries that were not noted before."""
    for name, module in list(sys.modules.items()):
        if name not in _remembered and _is_guarded(name, module):
            _remembered.add(name)
            _before.extend(
                (namespace, shown, tuple(namespace.values())) for namespace, shown in _namespaces(name, module)
            )


def expect_libraries_unchanged(folder: Path) -> None:
    """Fail if a library attribute was replaced by a function or class defined in this folder."""
    # There are a hundred thousand values to compare in each process of a check, so unchanged
    # namespaces are skipped without a line of Python per value.
    changed = [
        (namespace, shown)
        for namespace, shown, values in _before
        if len(namespace) != len(values) or not all(map(operator.is_, namespace.values(), values))
    ]
    for name, module in list(sys.modules.items()):
        if name not in _remembered and _is_guarded(name, module):
            changed += _namespaces(name, module)
    for namespace, shown in changed:
        for key, value in list(namespace.items()):
            if place := _place_in(value, folder):
                cause = f"Your file replaces {shown}.{key}, which other code relies on."
                raise Failed("EXERCISE_PATCHES_A_LIBRARY", cause, ("replaced", "by"), [(f"{shown}.{key}", place)])


def refuse_imports(folder: Path) -> None:
    """Let no module of this folder import a solution or the checks. It can read the files."""
    original = builtins.__import__

    def guarded(
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        file = str((globals or {}).get("__file__", ""))
        if name.partition(".")[0] == "kit" and file.startswith(f"{folder}{os.sep}"):
            wanted = [name, *(f"{name}.{item}" for item in fromlist or ())]
            if closed := [one for one in wanted if f"{one}.".startswith(tuple(f"{package}." for package in CLOSED))]:
                raise Failed(
                    "INTEGRITY_VIOLATION",
                    f"{Path(file).name} imports {closed[0]}, which belongs to the checks or to the solution.",
                    remedy="Write the function yourself, with Keras and JAX alone.",
                )
        return original(name, globals, locals, fromlist, level)

    builtins.__import__ = guarded


def watch_backend() -> Callable[[], dict[str, Any]]:
    """Watch JAX's backend from now on.

    Returns a function that ends the watch, and returns "line" and "text" of the line that started
    the backend; empty if it was not started.
    """
    from jax._src import xla_bridge

    place: dict[str, Any] = {}
    original = xla_bridge.backends

    def watched() -> Any:
        if not place:
            frame: FrameType | None = sys._getframe(1)
            while frame is not None and "site-packages" in frame.f_code.co_filename:
                frame = frame.f_back
            if frame is not None:
                text = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
                place.update(line=frame.f_lineno, text=text)
        return original()

    xla_bridge.backends = watched

    def started() -> dict[str, Any]:
        xla_bridge.backends = original
        return (place or {"line": "-", "text": ""}) if xla_bridge.backends_are_initialized() else {}

    return started


def _is_guarded(name: str, module: Any) -> bool:
    return name.partition(".")[0] in GUARDED and type(module) is ModuleType and not name.startswith("kit.reference")


def _namespaces(name: str, module: ModuleType) -> list[tuple[Mapping[str, Any], str]]:
    """The module's names, and those of each class that it defines."""
    return [
        (vars(module), name),
        *(
            (vars(value), f"{name}.{key}")
            for key, value in list(vars(module).items())
            if isinstance(value, type) and value.__module__ == name
        ),
    ]


def _place_in(value: Any, folder: Path) -> str:
    """File and line of a function, or the file of a class, if it is from this folder."""
    code = value.__code__ if isinstance(value, FunctionType) else None
    if code is not None:
        file, line = code.co_filename, f":{code.co_firstlineno}"
    elif isinstance(value, type):
        file, line = getattr(sys.modules.get(value.__module__), "__file__", None) or "-", f"::{value.__name__}"
    else:
        return ""
    # Compared as text, for speed.
    return Path(file).name + line if file.startswith(f"{folder}{os.sep}") else ""
