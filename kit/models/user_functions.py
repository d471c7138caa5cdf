"""A user's own functions, named ``FILE.py:FUNCTION`` or ``module:function``."""

import importlib
import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kit.errors import UserError, similar_names
from kit.formatting import without_escapes

_NAMED = re.compile(r"^(?P<where>[^:]+):(?P<function>[A-Za-z_]\w*)$")


def is_function_name(text: str) -> bool:
    """Whether the text names a function, and not a preset, a folder or a size."""
    return _NAMED.match(text) is not None


@dataclass(frozen=True)
class UserFunction:
    """A function of a user's file or module."""

    #: Its name on the command line.
    text: str
    function: Callable[..., Any]

    @property
    def name(self) -> str:
        """The function's name."""
        return self.text.rpartition(":")[2]

    @property
    def parameters(self) -> int:
        """The number of parameters that it requires."""
        found = inspect.signature(self.function).parameters.values()
        positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        return sum(one.default is one.empty and one.kind in positional for one in found)

    def __call__(self, *arguments: Any) -> Any:
        """Call it. Raises UserError, with the user's line, if it raises."""
        if self.parameters != len(arguments):
            takes = f"takes {len(arguments)} argument" + ("" if len(arguments) == 1 else "s")
            raise UserError(
                f"{self.text}: this function {takes if arguments else 'is called without arguments'}, but it requires "
                f"{self.parameters}; give the others a default."
            )
        try:
            return self.function(*arguments)
        except UserError as error:
            raise UserError(f"{self.text}{_line(error, self.function)}: {str(error).rstrip('.')}.") from error
        except Exception as error:
            raise UserError(_sentence(self.text, error, self.function)) from error


def find_function(text: str, folder: Path | None = None) -> UserFunction:
    """Import the function. Raises UserError if there is none, or if its module cannot be imported.

    Files and modules are found from the folder, by default the current one. A file can import its
    neighbours.
    """
    folder = folder or Path.cwd()
    match = _NAMED.match(text)
    if match is None:
        raise UserError(f"{text}: write FILE.py:FUNCTION or module:function.")
    where, name = match["where"], match["function"]
    module = _module_of_file(text, folder / where) if where.endswith(".py") else _module_of_name(text, where, folder)
    function = getattr(module, name, None)
    if not callable(function):
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        close = similar_names(name, known)
        meant = f": did you mean {' or '.join(close)}?" if close else "."
        raise UserError(f"{text}: {where} has no function {name}{meant}")
    return UserFunction(text, function)


def _module_of_file(text: str, file: Path) -> Any:
    if not file.is_file():
        raise UserError(f"{text}: there is no file {text.rpartition(':')[0]} here.")
    file = file.resolve()
    for module in list(sys.modules.values()):
        if getattr(module, "__file__", None) == str(file) and module.__name__ != "__main__":
            return module
    if str(file.parent) not in sys.path:
        sys.path.insert(0, str(file.parent))
    specification = importlib.util.spec_from_file_location(file.stem, file)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    # Another file may import it by its name; a library of that name stays what it is.
    ours = sys.modules.setdefault(file.stem, module) is module
    try:
        specification.loader.exec_module(module)
    except BaseException as error:
        if ours:
            del sys.modules[file.stem]
        if not isinstance(error, Exception | SystemExit):
            raise
        raise UserError(_sentence(text, error, None, file)) from error
    return module


def _module_of_name(text: str, name: str, folder: Path) -> Any:
    if str(folder.resolve()) not in sys.path:
        sys.path.insert(0, str(folder.resolve()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise UserError(
                f"{text}: there is no module {error.name} here; for a file write FILE.py:FUNCTION."
            ) from None
        raise UserError(_sentence(text, error, None)) from error
    except (Exception, SystemExit) as error:
        raise UserError(_sentence(text, error, None)) from error


def _sentence(text: str, error: BaseException, function: Callable[..., Any] | None, file: Path | None = None) -> str:
    if isinstance(error, SyntaxError) and error.filename:
        return f"{text}: {Path(error.filename).name}:{error.lineno}: {error.msg}."
    return f"{text}: failed{_line(error, function, file)} ({reason_of(error)})."


def reason_of(error: BaseException) -> str:
    """An exception's type and first line, without Keras' line about the layer that raised it."""
    lines = [line.strip() for line in without_escapes(str(error)).splitlines()]
    lines = [line for line in lines if line and not line.startswith("Exception encountered when calling")]
    return f"{type(error).__name__}: {lines[0].rstrip('.') if lines else 'no reason given'}"


def _line(error: BaseException, function: Callable[..., Any] | None, file: Path | None = None) -> str:
    """`` at my_model.py:12``: the last line of the user's own file in a traceback."""
    try:
        own = str(file or Path(inspect.getsourcefile(function) or "").resolve())  # type: ignore[arg-type]
    except TypeError:
        return ""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if str(Path(frame.filename)) == own]
    return f" at {Path(own).name}:{frames[-1].lineno}" if frames else ""
