"""A solution as a check sees it: functions to call, whose errors are diagnoses."""

import linecache
import re
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from kit.checks.codes import NOT_IMPLEMENTED
from kit.checks.diagnosis import Failed
from kit.judge.catalogue import Exercise, Function
from kit.judge.crashes import described, remedy_for, shown_call, shown_value
from kit.judge.interface import expect_signature, signature_of
from kit.judge.observation import Outcome, Raised, Returned, Stopped
from kit.parts.implementation import Parts

Value = TypeVar("Value")

_TASK = re.compile(r"\w+, task (\d+)")


class Submission:
    """One exercise of one implementation, imported in this process."""

    def __init__(self, parts: Parts, exercise: Exercise) -> None:
        """Import the module."""
        self.exercise = exercise.name
        self._foreseen = exercise.foreseen
        self._functions = {function.name: function for function in exercise.functions}
        self.parts = parts
        self.file = parts.file_of(self.exercise)
        self._shown = parts.shown(self.exercise)
        if not self.file.is_file():
            cause = f"There is no {self.exercise}.py in {parts.folder}."
            rows = [(", ".join(sorted(path.name for path in parts.folder.glob("*.py"))) or "no Python file",)]
            raise Failed("EXERCISE_DOES_NOT_IMPORT", cause, ("found",), rows)
        try:
            self._module: types.ModuleType = parts.load(self.exercise)
        except SyntaxError as error:
            raise not_python(self._shown, error, Path(error.filename or self.file).name) from None
        except SystemExit as error:
            raise self._ended(error, "when it is imported") from None
        except Failed:
            raise
        except BaseException as error:
            line, text = self.their_line(error)
            cause = f"{self._shown} does not import: {described(error)}."
            remedy = remedy_for(error, self._foreseen)
            raise Failed(
                "EXERCISE_DOES_NOT_IMPORT",
                cause,
                ("line", "text"),
                [(line or "-", text)],
                remedy,
                location=self.parts.location(error),
            ) from None

    def wanted(self, name: str) -> Function:
        """What the exercise asks of a function."""
        return self._functions[name]

    def function(self, name: str) -> Callable[..., Any]:
        """A function of the solution. Raises Failed if there is none of that name."""
        found = getattr(self._module, name, None)
        if not callable(found):
            others = [key for key, value in vars(self._module).items() if callable(value) and not key.startswith("_")]
            cause = f"{self._shown} has no function {name}."
            raise Failed("FUNCTION_MISSING", cause, ("wanted", "found"), [(name, ", ".join(others) or "none")])
        return found

    def call(self, name: str, *args: Any, returns: type | tuple[type, ...] | None = None, **kwargs: Any) -> Any:
        """Call a function of the solution, whose value must be an instance of ``returns``.

        Raises Failed if it raises an error, ends the process, or returns something else.
        """
        value = self._call(name, args, kwargs, ())
        if returns is not None:
            self.expect_type(name, value, returns)
        return value

    def observe(
        self,
        name: str,
        *args: Any,
        reads: Callable[[Any], Value] = lambda value: value,
        returns: type | tuple[type, ...] | None = None,
        expects: type[Exception] | tuple[type[Exception], ...] = (),
        **kwargs: Any,
    ) -> Outcome[Value]:
        """Call a function of the solution, and return the outcome as data.

        ``reads`` turns the value into plain data, and ``returns`` is what the value must be an
        instance of. Errors of the classes in ``expects`` are data too. The other arguments are
        passed on.
        """
        kinds = expects if isinstance(expects, tuple) else (expects,)
        try:
            value = self._call(name, args, kwargs, kinds)
            if kinds and isinstance(value, kinds):
                return Raised(type(value).__name__, str(value))
            if returns is not None:
                self.expect_type(name, value, returns)
            return Returned(reads(value))
        except Failed as failed:
            return Stopped(failed.diagnosis)

    def expect_type(self, name: str, value: Any, returns: type | tuple[type, ...]) -> None:
        """Make sure that a function returned the right type."""
        if not isinstance(value, returns):
            kinds = returns if isinstance(returns, tuple) else (returns,)
            wanted = " or ".join(dict.fromkeys(kind.__name__ for kind in kinds))
            cause = f"{name} returned {_kind(value)} instead of {_with_article(wanted)}."
            remedy = f"Return {_with_article(wanted)}, as the docstring says."
            if value is None:
                remedy = "Add a `return`: a function without one returns None."
            elif kinds[0] in (int, float) and getattr(value, "size", 0) == 1:
                remedy = f"{kinds[0].__name__}() turns an array with one entry into a number."
            raise Failed("WRONG_RETURN_TYPE", cause, ("expected", "returned"), [(wanted, shown_value(value))], remedy)

    def wrap(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a function that the solution returned: its errors are diagnoses too."""

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            return self._guarded(name, function, args, kwargs, ())

        return wrapped

    def their_line(self, error: BaseException) -> tuple[int | None, str]:
        """Number and text of the last line of the solution's folder in an error's traceback."""
        frame = self.parts.last_frame(error)
        if frame is None or frame.lineno is None:
            return None, ""
        return frame.lineno, linecache.getline(frame.filename, frame.lineno).strip()

    def _call(self, name: str, args: tuple, kwargs: dict[str, Any], expects: tuple[type[Exception], ...]) -> Any:
        return self._guarded(name, self.function(name), args, kwargs, expects)

    def _guarded(
        self,
        name: str,
        function: Callable[..., Any],
        args: tuple,
        kwargs: dict[str, Any],
        expects: tuple[type[Exception], ...],
    ) -> Any:
        try:
            return function(*args, **kwargs)
        except SystemExit as error:
            raise self._ended(error, f"in {name}") from None
        except Failed:
            raise
        except BaseException as error:
            if (not_implemented := self.as_not_implemented(error, name)) is not None:
                raise not_implemented from None
            if isinstance(error, TypeError) and self.their_line(error)[0] is None and name in self._functions:
                expect_signature(signature_of(function), self._functions[name])
            if isinstance(error, expects):
                return error
            raise self.crashed(error, name, shown_call(name, args, kwargs)) from None

    def as_not_implemented(self, error: BaseException, name: str) -> Failed | None:
        """The diagnosis, if an error says that a task of this solution is still open."""
        if not isinstance(error, NotImplementedError):
            return None
        line, text = self.their_line(error)
        if line is None or "raise" not in text:
            return None
        return not_implemented(
            self._shown, self.exercise, name, _TASK.fullmatch(str(error)), line, self.parts.location(error)
        )

    def crashed(self, error: BaseException, name: str, call: str, remedy: str = "") -> Failed:
        """The diagnosis of an error that a function raised, or that what it returned caused."""
        line, text = self.their_line(error)
        remedy = remedy or remedy_for(error, self._foreseen)
        rows = [("the call", call)] if call else []
        if line is not None:
            rows.append((f"line {line}", text))
        elif not remedy:
            remedy = "No line of yours raised it: look at what your functions return, and at the other diagnostics."
        return Failed(
            "EXERCISE_CRASHED",
            f"{name} failed: {described(error)}.",
            ("where", ""),
            rows,
            remedy=remedy,
            location=self.parts.location(error),
        )

    def _ended(self, error: SystemExit, where: str) -> Failed:
        line, text = self.their_line(error)
        return Failed(
            "EXERCISE_ENDED_THE_PROCESS",
            f"{self._shown} ends the program {where}, with exit code {error.code}.",
            ("line", "text"),
            [(line or "-", text)],
            location=self.parts.location(error),
        )


def not_python(shown: str, error: SyntaxError, file: str) -> Failed:
    """The diagnosis of a file, of this name, that cannot be parsed."""
    return Failed(
        "EXERCISE_DOES_NOT_IMPORT",
        f"{shown} is not Python: {error.msg}.",
        ("line", "text"),
        [(error.lineno or "-", (error.text or "").strip())],
        location=f"{file}:{error.lineno}" if error.lineno else "",
    )


def not_implemented(
    shown: str, exercise: str, function: str, task: re.Match[str] | None, line: int, location: str
) -> Failed:
    """The one line about a function that is not implemented yet."""
    which = f"task {task[1]}, " if task else ""
    return Failed(
        NOT_IMPLEMENTED,
        f"{shown}::{function} ({which}line {line}) is not implemented yet; see `kit hint {exercise}`.",
        location=location,
    )


def _kind(value: Any) -> str:
    return "None" if value is None else _with_article(type(value).__name__)


def _with_article(name: str) -> str:
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"
