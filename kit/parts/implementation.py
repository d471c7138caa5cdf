"""An implementation of the parts: the reference, a learner's, or any folder with such modules."""

import importlib
import importlib.util
import sys
import traceback
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from kit.errors import UserError
from kit.files import read_module
from kit.parts import protocols
from kit.parts.open_tasks import open_functions
from kit.parts.protocols import PARTS, functions_of

Part = TypeVar("Part")

REFERENCE = "reference"
EXERCISES = "exercises"
KIT_FOLDER = Path(__file__).parents[1]


class _Part(Generic[Part]):
    """A part as an attribute. Raises UserError if the module is missing or does not import."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, parts: "Parts", owner: type) -> Part:
        return cast("Part", parts.module(self._name))


@dataclass
class Parts:
    """One implementation of the parts. A module is imported when it is first used."""

    #: "reference", "exercises" or a folder, as the user wrote it.
    name: str
    folder: Path
    #: Whether functions with open tasks are taken from the reference.
    filled: bool = False
    _modules: dict[str, Any] = field(default_factory=dict)

    mesh = _Part[protocols.MeshPart]()
    layout = _Part[protocols.LayoutPart]()
    loading = _Part[protocols.LoadingPart]()
    reviews = _Part[protocols.ReviewsPart]()
    lora = _Part[protocols.LoraPart]()
    training = _Part[protocols.TrainingPart]()
    generation = _Part[protocols.GenerationPart]()
    checkpoint = _Part[protocols.CheckpointPart]()

    def module(self, name: str) -> Any:
        """The module of an exercise. Raises UserError if it is missing or does not import."""
        if name not in self._modules:
            module = self._import(name)
            self._modules[name] = self._fill(name, module) if self.filled and name in PARTS else module
        return self._modules[name]

    def open_functions(self) -> list[str]:
        """The functions of the parts with open tasks, such as ``layout.gemma_layout_map``."""
        return [f"{part}.{function}" for part in PARTS for function in self._open_in(part)]

    def is_open(self, name: str, function: str) -> bool:
        """Whether a function has an open task.

        Raises UserError if the file is missing or not Python.
        """
        if self.name == REFERENCE:
            return False
        try:
            return function in open_functions(read_module(self._existing_file(name)), name)
        except SyntaxError as error:
            raise UserError(f"--impl {self.name}: {self.file_of(name)} is not Python ({error}).") from None
        except OSError as error:
            raise UserError(f"--impl {self.name}: {self.file_of(name)} cannot be read ({error.strerror}).") from None

    def check(self) -> None:
        """Import all parts. Raises UserError that names all functions that are missing."""
        wanted = [(part, function) for part, protocol in PARTS.items() for function in functions_of(protocol)]
        missing = [f"{part}.{name}" for part, name in wanted if not callable(getattr(self.module(part), name, None))]
        if missing:
            raise UserError(f"--impl {self.name}: missing functions: {', '.join(missing)}.")

    def _open_in(self, part: str) -> list[str]:
        return [function for function in functions_of(PARTS[part]) if self.is_open(part, function)]

    def _fill(self, part: str, module: types.ModuleType) -> Any:
        is_open = self._open_in(part)
        if not is_open:
            return module
        try:
            reference = importlib.import_module(f"kit.reference.{part}")
        except ModuleNotFoundError:
            raise UserError(
                f"--fill-with-reference: this copy of the kit has no kit/reference, and {part}.{is_open[0]} is not "
                "implemented yet."
            ) from None
        sources = {function: reference if function in is_open else module for function in functions_of(PARTS[part])}
        return types.SimpleNamespace(
            **{function: getattr(source, function) for function, source in sources.items() if hasattr(source, function)}
        )

    def _existing_file(self, part: str) -> Path:
        file = self.file_of(part)
        if not file.is_file():
            raise UserError(f"--impl {self.name}: there is no {part}.py in {self.folder}.")
        return file

    def _import(self, part: str) -> types.ModuleType:
        if self.name != REFERENCE:
            self._existing_file(part)
        try:
            return self.load(part)
        except UserError:
            raise
        except Exception as error:  # whatever a user module raises when it is imported
            reason = f": {str(error).splitlines()[0]}" if str(error) else ""
            raise UserError(
                f"--impl {self.name}: {self.file_of(part)} does not import ({type(error).__name__}{reason})."
            ) from error

    def file_of(self, part: str) -> Path:
        """Where the part's module is, or would be."""
        return self.folder / f"{part}.py"

    def shown(self, part: str) -> str:
        """The path of the part's module as a user would type it."""
        return f"{self.name.rstrip('/')}/{part}.py"

    def last_frame(self, error: BaseException) -> traceback.FrameSummary | None:
        """The last line of these parts in an error's traceback."""
        frames = traceback.extract_tb(error.__traceback__)
        theirs = [frame for frame in frames if Path(frame.filename).resolve().is_relative_to(self.folder)]
        return theirs[-1] if theirs else None

    def location(self, error: BaseException) -> str:
        """File and line of :meth:`last_frame`, as ``mesh.py:17``; empty if there is none."""
        frame = self.last_frame(error)
        return f"{Path(frame.filename).resolve().relative_to(self.folder)}:{frame.lineno}" if frame else ""

    def load(self, part: str) -> types.ModuleType:
        """Import the module of a part; whatever it raises is passed on."""
        if self.name == REFERENCE:
            return importlib.import_module(f"kit.reference.{part}")
        # A package for each folder, so that a part can import its neighbours, and so that no
        # installed module of the same name shadows it.
        package = "kit_parts_" + "".join(character if character.isalnum() else "_" for character in str(self.folder))
        if package not in sys.modules:
            module = types.ModuleType(package)
            module.__path__ = [str(self.folder)]
            sys.modules[package] = module
        if str(self.folder) not in sys.path:
            sys.path.append(str(self.folder))
        return importlib.import_module(f"{package}.{part}")


def find_parts(impl: str, filled: bool = False) -> Parts:
    """The parts that ``--impl`` names: "reference", "exercises" or a folder.

    "exercises" is the folder of that name here, else the one beside the kit. ``filled`` takes
    functions with open tasks from the reference. Raises UserError if there is no such folder.
    """
    if impl == REFERENCE:
        if not (KIT_FOLDER / "reference").is_dir():
            raise UserError(
                "--impl reference: this copy of the kit has no solutions; `--impl exercises` takes your own parts."
            )
        return Parts(impl, KIT_FOLDER / "reference")
    folder = Path(impl).resolve()
    beside_the_kit = KIT_FOLDER.parent / EXERCISES
    if impl == EXERCISES and not folder.is_dir() and beside_the_kit.is_dir():
        folder = beside_the_kit
    if not folder.is_dir():
        remedy = (
            "`kit init` writes the exercises"
            if impl == EXERCISES
            else "`--impl reference` runs the parts that come with the kit"
        )
        raise UserError(f"--impl {impl}: there is no such folder here; {remedy}.")
    return Parts(impl, folder, filled)
