"""What happens in the process of one check: import the solution, ask, and say what was found."""

import importlib
import operator
import os
import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import FrameType, FunctionType, ModuleType
from typing import Any

from kit.checks.diagnosis import Failed
from kit.errors import UserError
from kit.judge.catalogue import Catalogue
from kit.judge.observation import expect_plain
from kit.judge.submission import Submission
from kit.parts.implementation import Parts, find_parts

KIT_FOLDER = Path(__file__).parents[1]

#: Libraries that a solution uses and must not change.
GUARDED = ("builtins", "pytest", "_pytest", "numpy", "jax", "keras", "keras_hub", "kit")


UNOPTIMIZED = "--xla_backend_optimization_level=0"
#: Layers whose programs run for a moment: not whole runs, which take twice as long so, nor what the TPU compiler is asked.
QUICKLY_COMPILED = ("interface", "spec", "params", "program", "train")


def _choose_optimization(layer: str) -> None:
    """Leave LLVM's optimization out where it would take longer than what it makes quick; JAX reads it when its backend starts."""
    flags = [flag for flag in os.environ.get("XLA_FLAGS", "").split() if flag != UNOPTIMIZED]
    os.environ["XLA_FLAGS"] = " ".join([*flags, UNOPTIMIZED] if layer in QUICKLY_COMPILED else flags)


def import_for(catalogue: Catalogue, exercise: str) -> ModuleType:
    """Import what the checks of an exercise need. Starts no backend, so a process may fork after it."""
    # Also where the checks themselves do without, a solution may not, and each child would import it again.
    importlib.import_module("keras")
    checks = importlib.import_module(f"{catalogue.package}.{exercise}.checks")
    _remember_libraries()
    return checks


# Two edits within a second, of the same length, would leave the bytecode of the first in place.
sys.dont_write_bytecode = True


def execute(source: str, impl: str, exercise: str, check: str) -> dict[str, Any]:
    """Run one check in this process, once and for all: it may leave anything behind.

    Args:
        source: Of the catalogue, as "module:function".
        impl: The implementation, as ``--impl`` takes it.
        exercise: The exercise.
        check: The name of the check.

    Returns:
        ``diagnosis``, None if the check is passed, and ``seconds``; or ``error``, where nothing could be checked.

    """
    started = time.perf_counter()
    measured: dict[str, float] = {}
    catalogue = Catalogue.from_source(source)
    try:
        _check(catalogue, impl, exercise, check, measured)
        diagnosis = None
    except Failed as failed:
        diagnosis = catalogue.explain(failed.diagnosis).as_dict()
    except UserError as error:
        return {"error": str(error)}
    return {"diagnosis": diagnosis, "seconds": round(time.perf_counter() - started, 3), "measured": measured}


def _check(catalogue: Catalogue, impl: str, exercise: str, name: str, measured: dict[str, float]) -> None:
    checks = import_for(catalogue, exercise)
    _choose_optimization(catalogue.find_check(exercise, name).layer)
    parts = find_parts(impl)
    backend_started = _watch_backend()
    # The checks of the whole run import the parts themselves, as `kit run` does.
    submission = Submission(parts, catalogue.find(exercise)) if exercise in catalogue.names else None
    if place := backend_started():
        raise Failed(
            "EXERCISE_STARTS_JAX",
            f"{exercise}.py starts JAX when it is imported, before a program has chosen its devices.",
            ("line", "text"),
            [(place["line"], place["text"])],
        )
    import keras

    # A progress bar would be printed over and over beside a diagnosis.
    keras.config.disable_interactive_logging()
    try:
        _observe_and_judge(checks, name, submission or parts, measured)
    except (Failed, UserError):
        raise
    except BaseException as error:
        if submission is None:
            raise
        if isinstance(error, AssertionError) and _is_of_the_kit(error):
            # What a check assumes about its own models does not hold: no solution is to blame for that.
            raise UserError(f"The check {exercise}: {name} could not be made: {error}.") from error
        if (not_implemented := submission.as_not_implemented(error, name)) is not None:
            raise not_implemented from None
        if os.environ.get("KIT_TRACEBACK"):
            traceback.print_exc()
        raise submission.crashed(
            error, f"The check {name.replace('_', ' ')!r}, using what your functions returned,", name
        ) from None
    finally:
        _expect_libraries_unchanged(parts.folder)


def _observe_and_judge(
    checks: ModuleType, name: str, solution: Submission | Parts, measured: dict[str, float]
) -> None:
    """Let the check's ``observe`` run learner code, and its ``judge`` compare what it returned with the oracle."""
    if name.startswith("interface_of_") and isinstance(solution, Submission):
        solution.expect_interface(name.removeprefix("interface_of_"))
        return
    if hasattr(checks, f"observe_{name}"):
        _start_clean()
        observation = getattr(checks, f"observe_{name}")(solution)
        expect_plain(observation)
        _start_clean()
        measured.update(getattr(checks, f"judge_{name}")(observation) or {})
        return
    _start_clean()
    try:
        getattr(checks, name)(solution)
    finally:
        measured.update(getattr(solution, "measured", {}))


def _start_clean() -> None:
    """No distribution is set, and random numbers begin at their start."""
    import keras

    keras.distribution.set_distribution(None)
    keras.utils.set_random_seed(0)


def _is_of_the_kit(error: BaseException) -> bool:
    """Whether an error was raised by a line of the kit itself."""
    file = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
    return file.is_relative_to(KIT_FOLDER) and not file.is_relative_to(KIT_FOLDER / "reference")


#: What stood in the libraries' modules and classes before any solution was imported: namespace, name, values.
_untouched: list[tuple[Mapping[str, Any], str, tuple[Any, ...]]] = []
_remembered: set[str] = set()


def _remember_libraries() -> None:
    """Note what the libraries' modules and classes hold, as far as that is not done yet."""
    for name, module in list(sys.modules.items()):
        if name not in _remembered and _is_guarded(name, module):
            _remembered.add(name)
            _untouched.extend(
                (namespace, shown, tuple(namespace.values())) for namespace, shown in _namespaces(name, module)
            )


def _expect_libraries_unchanged(folder: Path) -> None:
    """No function or class of a person's file stands in a library, where other code would come upon it."""
    # There are a hundred thousand values to look at, in each process of a check: those that are as they were are passed over
    # without a line of Python.
    changed = [
        (namespace, shown)
        for namespace, shown, values in _untouched
        if len(namespace) != len(values) or not all(map(operator.is_, namespace.values(), values))
    ]
    for name, module in list(sys.modules.items()):
        if name not in _remembered and _is_guarded(name, module):
            changed += _namespaces(name, module)
    for namespace, shown in changed:
        for key, value in list(namespace.items()):
            if place := _place_in(value, folder):
                raise Failed(
                    "EXERCISE_PATCHES_A_LIBRARY",
                    f"Your file replaces {shown}.{key}, which other code relies on.",
                    ("replaced", "by"),
                    [(f"{shown}.{key}", place)],
                )


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
    """File and line of a function, or the file of a class, if it is of this folder."""
    code = value.__code__ if isinstance(value, FunctionType) else None
    if code is not None:
        file, line = code.co_filename, f":{code.co_firstlineno}"
    elif isinstance(value, type):
        file, line = getattr(sys.modules.get(value.__module__), "__file__", None) or "-", f"::{value.__name__}"
    else:
        return ""
    # Compared as text: there are a hundred thousand to look at.
    return Path(file).name + line if file.startswith(f"{folder}{os.sep}") else ""


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
