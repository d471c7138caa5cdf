"""What happens in the process of one check: import the solution, ask, and say what was found."""

import functools
import importlib
import os
import sys
import time
import traceback
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from kit.checks.diagnosis import Failed
from kit.checks.submission import Submission
from kit.errors import UserError
from kit.parts import PARTS, find_parts

#: Libraries that a solution uses and must not change.
GUARDED = ("builtins", "pytest", "_pytest", "numpy", "jax", "keras", "keras_hub", "kit")


def import_for(exercise: str) -> None:
    """Import what the checks of an exercise need. Starts no backend, so a process may fork after it."""
    # Also where the checks themselves do without, a solution may not, and each child would import it again.
    importlib.import_module("keras")
    importlib.import_module(f"kit.checks.{exercise}")


def execute(impl: str, exercise: str, check: str) -> dict[str, Any]:
    """Run one check in this process, once and for all: it may leave anything behind.

    Returns:
        ``diagnosis``, None if the check is passed, and ``seconds``; or ``error``, where nothing could be checked.

    """
    started = time.perf_counter()
    try:
        _check(impl, exercise, check)
        diagnosis = None
    except Failed as failed:
        diagnosis = failed.diagnosis.as_dict()
    except UserError as error:
        return {"error": str(error)}
    return {"diagnosis": diagnosis, "seconds": round(time.perf_counter() - started, 3)}


def _check(impl: str, exercise: str, name: str) -> None:
    import_for(exercise)
    parts = find_parts(impl)
    before = _functions_of_libraries(parts.folder)
    backend_started = _watch_backend()
    # The checks of all parts together import these themselves, as `kit run` does.
    submission = Submission(parts, exercise) if exercise in PARTS else None
    if place := backend_started():
        raise Failed(
            "EXERCISE_STARTS_JAX",
            f"{exercise}.py starts JAX when it is imported, before a program has chosen its devices.",
            ("line", "text"),
            [(place["line"], place["text"])],
        )
    import keras

    keras.distribution.set_distribution(None)
    keras.utils.set_random_seed(0)
    try:
        _question(exercise, name)(submission or parts)
    except (Failed, UserError):
        raise
    except BaseException as error:
        if submission is None:
            raise
        if (not_implemented := submission.as_not_implemented(error, name)) is not None:
            raise not_implemented from None
        if os.environ.get("KIT_TRACEBACK"):
            traceback.print_exc()
        raise submission.crashed(
            error, f"The check {name.replace('_', ' ')!r}, using what your functions returned,", name
        ) from None
    finally:
        _expect_same(before, parts.folder)


def _question(exercise: str, name: str) -> Any:
    if name.startswith("interface_of_"):
        from kit.checks.interface import check_interface

        return functools.partial(check_interface, function=name.removeprefix("interface_of_"))
    return getattr(importlib.import_module(f"kit.checks.{exercise}"), name)


def _functions_of_libraries(folder: Path) -> dict[tuple[str, str], Any]:
    """What the libraries' modules and classes have under which name, to see whether a solution changes it."""
    found: dict[tuple[str, str], Any] = {}
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] not in GUARDED or type(module) is not ModuleType or name.startswith("kit.reference"):
            continue
        for key, value in list(vars(module).items()):
            if callable(value):
                found[name, key] = value
                if isinstance(value, type) and value.__module__ == name:
                    found |= {(f"{name}.{key}", member): item for member, item in vars(value).items() if callable(item)}
    return found


def _expect_same(before: dict[tuple[str, str], Any], folder: Path) -> None:
    for (owner, key), value in before.items():
        module = sys.modules.get(owner)
        if module is None:
            holder = getattr(sys.modules.get(owner.rpartition(".")[0]), owner.rpartition(".")[2], None)
        else:
            holder = module
        now = vars(holder).get(key) if holder is not None else None
        # Only what a person's file put there: the libraries replace some of their own names as they go.
        if now is not value and (place := _place_in(now, folder)):
            raise Failed(
                "EXERCISE_PATCHES_A_LIBRARY",
                f"Your file replaces {owner}.{key}, which other code relies on.",
                ("replaced", "by"),
                [(f"{owner}.{key}", place)],
            )


def _place_in(value: Any, folder: Path) -> str:
    """File and line of a function, or the file of a class, if it is of this folder."""
    code = getattr(value, "__code__", None)
    if code is not None:
        file, line = Path(code.co_filename), f":{code.co_firstlineno}"
    elif isinstance(value, type):
        file, line = Path(getattr(sys.modules.get(value.__module__), "__file__", None) or "-"), f"::{value.__name__}"
    else:
        return ""
    return file.name + line if file.resolve().is_relative_to(folder) else ""


def _watch_backend() -> Any:
    """A function that says where JAX's backend was started since, if it was."""
    from jax._src import xla_bridge

    place: dict[str, Any] = {}
    original = xla_bridge.backends

    def watched() -> Any:
        if not place:
            frame: FrameType | None = sys._getframe(1)
            while frame is not None and "site-packages" in frame.f_code.co_filename:
                frame = frame.f_back
            if frame is not None:
                import linecache

                text = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
                place.update(line=frame.f_lineno, text=text)
        return original()

    xla_bridge.backends = watched

    def started() -> dict[str, Any]:
        xla_bridge.backends = original
        return (place or {"line": "-", "text": ""}) if xla_bridge.backends_are_initialized() else {}

    return started
