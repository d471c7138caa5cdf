"""The process of one check: import the solution, observe it, judge the observation."""

import importlib
import os
import sys
import time
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from kit.checks.diagnosis import Failed
from kit.errors import UserError
from kit.judge.catalogue import Catalogue, Check
from kit.judge.guards import expect_libraries_unchanged, remember_libraries, watch_backend
from kit.judge.interface import judge_interface, observe_interface
from kit.judge.observation import expect_plain
from kit.judge.submission import Submission
from kit.parts.implementation import KIT_FOLDER, Parts, find_parts

UNOPTIMIZED = "--xla_backend_optimization_level=0"
#: Layers whose programs are compiled without LLVM's optimization, because they run only briefly.
#: Complete runs would take twice as long, and the TPU compiler's figures need optimized programs.
QUICKLY_COMPILED = ("interface", "spec", "params", "program", "train")

# Python would run old bytecode if a file is edited twice within a second and keeps its length.
sys.dont_write_bytecode = True


def import_for(catalogue: Catalogue, exercise: str) -> ModuleType | None:
    """Import what the checks of an exercise need; without one, Keras.

    Starts no backend, so a process may fork after it.
    """
    # Even where the checks do not need Keras, a solution may, and each child would import it again.
    importlib.import_module("keras")
    if not exercise:
        return None
    checks = importlib.import_module(f"{catalogue.package}.{exercise}.checks")
    remember_libraries()
    return checks


def execute(source: str, impl: str, exercise: str, check: str) -> dict[str, Any]:
    """Run one check in this process, which must not be used afterwards.

    ``source`` is that of the catalogue, as "module:function"; ``impl`` is as ``--impl`` takes it.
    Returns ``diagnosis`` (None if the check passes), ``seconds`` and ``measured``; or ``error``,
    where nothing could be checked.
    """
    started = time.perf_counter()
    catalogue = Catalogue.from_source(source)
    measured: dict[str, float] = {}
    diagnosis = None
    try:
        measured = _run(catalogue, impl, catalogue.find_check(exercise, check))
    except Failed as failed:
        diagnosis = catalogue.explain(failed.diagnosis).as_dict()
    except UserError as error:
        return {"error": str(error)}
    return {"diagnosis": diagnosis, "seconds": round(time.perf_counter() - started, 3), "measured": measured}


def _run(catalogue: Catalogue, impl: str, check: Check) -> dict[str, float]:
    checks = import_for(catalogue, check.exercise)
    assert checks is not None
    _choose_optimization(check.layer)
    parts = find_parts(impl)
    backend_started = watch_backend()
    # The checks of the whole run import the parts themselves, as `kit run` does.
    submission = Submission(parts, catalogue.find(check.exercise)) if check.function else None
    if place := backend_started():
        cause = f"{check.exercise}.py starts JAX when it is imported, before a program has chosen its devices."
        raise Failed("EXERCISE_STARTS_JAX", cause, ("line", "text"), [(place["line"], place["text"])])
    import keras

    # A progress bar would be printed over and over beside a diagnosis.
    keras.config.disable_interactive_logging()
    try:
        return _observe_and_judge(checks, check, submission or parts)
    except (Failed, UserError):
        raise
    except BaseException as error:
        if submission is None:
            raise
        raise _unforeseen(error, submission, check) from error
    finally:
        expect_libraries_unchanged(parts.folder)


def _observe_and_judge(checks: ModuleType, check: Check, solution: Submission | Parts) -> dict[str, float]:
    """Let ``observe`` run learner code, and ``judge`` compare what it returned with the oracle."""
    if check.layer == "interface":
        assert isinstance(solution, Submission)
        judge_interface(observe_interface(solution, check.function), solution.wanted(check.function))
        return {}
    _start_clean()
    observation = getattr(checks, f"observe_{check.name}")(solution)
    expect_plain(observation)
    _start_clean()
    return getattr(checks, f"judge_{check.name}")(observation) or {}


def _unforeseen(error: BaseException, submission: Submission, check: Check) -> Exception:
    """The exception for an error that was not raised by a call of a learner's function."""
    if isinstance(error, AssertionError) and _is_of_the_kit(error):
        # An assumption of the check about its own models is wrong; the solution is not the cause.
        return UserError(f"The check {check.exercise}: {check.name} could not be made: {error}.")
    if (not_implemented := submission.as_not_implemented(error, check.name)) is not None:
        return not_implemented
    if os.environ.get("KIT_TRACEBACK"):
        traceback.print_exception(error)
    what = f"The check {check.name.replace('_', ' ')!r}, using what your functions returned,"
    return submission.crashed(error, what, "")


def _choose_optimization(layer: str) -> None:
    """Set the flag that leaves out LLVM's optimization where it takes longer than it saves.

    JAX reads the flag when its backend starts.
    """
    flags = [flag for flag in os.environ.get("XLA_FLAGS", "").split() if flag != UNOPTIMIZED]
    os.environ["XLA_FLAGS"] = " ".join([*flags, UNOPTIMIZED] if layer in QUICKLY_COMPILED else flags)


def _start_clean() -> None:
    """Set no distribution, and seed Keras' random numbers."""
    import keras

    keras.distribution.set_distribution(None)
    keras.utils.set_random_seed(0)


def _is_of_the_kit(error: BaseException) -> bool:
    """Whether an error was raised by a line of the kit itself."""
    file = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
    return file.is_relative_to(KIT_FOLDER) and not file.is_relative_to(KIT_FOLDER / "reference")
