"""One check: a process imports the solution and observes it, another one judges the observation.

The second process never runs a line of the solution. What crosses is plain data
(:mod:`kit.judge.channel`), so a solution can send a wrong observation and no verdict.
"""

import importlib
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from kit.checks.diagnosis import Diagnosis, Failed
from kit.errors import UserError
from kit.judge.catalogue import Catalogue, Check
from kit.judge.channel import NotPlainData, annotations_of, decode, encode, expect_type
from kit.judge.crashes import described, remedy_for
from kit.judge.guards import expect_libraries_unchanged, refuse_imports, remember_libraries, watch_backend
from kit.judge.interface import judge_interface, observe_interface
from kit.judge.observation import expect_plain
from kit.judge.submission import Submission
from kit.parts.implementation import KIT_FOLDER, REFERENCE, find_parts

UNOPTIMIZED = "--xla_backend_optimization_level=0"
#: Layers whose programs are compiled without LLVM's optimization, because they run only briefly.
#: Complete runs would take twice as long, and the TPU compiler's figures need optimized programs.
QUICKLY_COMPILED = ("interface", "spec", "params", "program", "train")

# Python would run old bytecode if a file is edited twice within a second and keeps its length.
sys.dont_write_bytecode = True

#: What the process of a solution sends: an observation, or a diagnosis, or why there was no check.
Message = tuple[Any, Diagnosis | None, str]


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
    """Observe and judge in this process, which must not be used afterwards.

    The arguments are those of :func:`observe`; returns what :func:`judge` does.
    """
    return judge(source, exercise, check, observe(source, impl, exercise, check))


def observe(source: str, impl: str, exercise: str, check: str) -> bytes:
    """Run a solution in this process, and return what was observed as a message.

    ``source`` is that of the catalogue, as "module:function"; ``impl`` is as ``--impl`` takes it.
    """
    catalogue = Catalogue.from_source(source)
    observation, diagnosis, error = None, None, ""
    try:
        observation = _observe(catalogue, impl, catalogue.find_check(exercise, check))
    except Failed as failed:
        diagnosis = failed.diagnosis
    except UserError as failed:
        error = str(failed)
    return encode((observation, diagnosis, error))


def judge(source: str, exercise: str, check: str, message: bytes) -> dict[str, Any]:
    """Judge an observation in a process that has run no line of the solution.

    Returns ``diagnosis`` (None if the check passes) and ``measured``; or ``error``, where nothing
    could be checked.
    """
    catalogue = Catalogue.from_source(source)
    found, checks = catalogue.find_check(exercise, check), import_for(catalogue, exercise)
    measured: dict[str, float] = {}
    diagnosis = None
    try:
        observation, stopped, error = _read(catalogue, checks, found, message)
        if error:
            return {"error": error}
        if stopped:
            raise Failed.of(stopped)
        measured = _judge(catalogue, checks, found, observation)
    except Failed as failed:
        diagnosis = catalogue.explain(failed.diagnosis).as_dict()
    except UserError as failed:
        return {"error": str(failed)}
    return {"diagnosis": diagnosis, "measured": measured}


def _observe(catalogue: Catalogue, impl: str, check: Check) -> Any:
    checks = import_for(catalogue, check.exercise)
    assert checks is not None
    _choose_optimization(check.layer)
    parts = find_parts(impl)
    if parts.name != REFERENCE:
        refuse_imports(parts.folder)
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
        if check.layer == "interface":
            assert submission is not None
            return observe_interface(submission, check.function)
        _start_clean()
        observation = getattr(checks, f"observe_{check.name}")(submission or parts)
        expect_plain(observation)
        return observation
    except (Failed, UserError):
        raise
    except BaseException as error:
        if submission is None:
            raise
        raise _unforeseen(error, submission, check) from error
    finally:
        expect_libraries_unchanged(parts.folder)


def _read(catalogue: Catalogue, checks: ModuleType | None, check: Check, message: bytes) -> Message:
    """The parts of a message, of which an observation has the type that its check declares."""
    observes = observe_interface if check.layer == "interface" else getattr(checks, f"observe_{check.name}")
    try:
        observation, diagnosis, error = read = decode(message, tuple[Any, Diagnosis | None, str])
        if diagnosis is None and not error:
            expect_type(observation, annotations_of(observes).get("return", Any), "the observation")
        elif diagnosis and diagnosis.code not in catalogue.codes:
            raise NotPlainData(f"a diagnosis with the unknown code {diagnosis.code!r}")
    except NotPlainData as wrong:
        raise Failed(
            "INTEGRITY_VIOLATION",
            "Your code interferes with its check: its process sent something else than what the check observed.",
            ("found",),
            [(str(wrong),)],
        ) from None
    return read


def _judge(catalogue: Catalogue, checks: ModuleType | None, check: Check, observation: Any) -> dict[str, float]:
    """Compare what was observed with the oracle."""
    if check.layer == "interface":
        functions = catalogue.find(check.exercise).functions
        wanted = next(function for function in functions if function.name == check.function)
        judge_interface(observation, wanted)
        return {}
    _choose_optimization(check.layer)
    _start_clean()
    try:
        return getattr(checks, f"judge_{check.name}")(observation) or {}
    except (Failed, UserError):
        raise
    except BaseException as error:
        if not check.function:
            raise
        if isinstance(error, AssertionError) and _is_of_the_kit(error):
            raise _could_not_be_made(error, check) from error
        _print_traceback(error)
        remedy = remedy_for(error, catalogue.find(check.exercise).foreseen)
        raise Failed(
            "EXERCISE_CRASHED",
            f"{_what(check)} failed: {described(error)}.",
            remedy=remedy
            or "No line of yours raised it: look at what your functions return, and at the other diagnostics.",
        ) from error


def _unforeseen(error: BaseException, submission: Submission, check: Check) -> Exception:
    """The exception for an error that was not raised by a call of a learner's function."""
    if isinstance(error, AssertionError) and _is_of_the_kit(error):
        # An assumption of the check about its own models is wrong; the solution is not the cause.
        return _could_not_be_made(error, check)
    if (not_implemented := submission.as_not_implemented(error, check.name)) is not None:
        return not_implemented
    _print_traceback(error)
    return submission.crashed(error, _what(check), "")


def _what(check: Check) -> str:
    return f"The check {check.name.replace('_', ' ')!r}, using what your functions returned,"


def _could_not_be_made(error: AssertionError, check: Check) -> UserError:
    return UserError(f"The check {check.exercise}: {check.name} could not be made: {error}.")


def _print_traceback(error: BaseException) -> None:
    if os.environ.get("KIT_TRACEBACK"):
        traceback.print_exception(error)


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
