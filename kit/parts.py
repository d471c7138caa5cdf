"""The parts that a run is made of: the reference's, a learner's, or those of any folder with the same modules."""

import importlib
import importlib.util
import sys
import traceback
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kit.course.stubs import missing_functions
from kit.errors import UserError

#: Modules, and the functions of each that a run calls or that the course teaches.
PARTS: dict[str, tuple[str, ...]] = {
    "mesh": ("make_device_mesh",),
    "layout": ("gemma_layout_map",),
    "loading": ("load_distributed", "sharding_table"),
    "reviews": ("prepare_reviews",),
    "lora": ("enable_lora", "count_parameters", "expected_lora_parameters"),
    "training": ("compile_for_finetuning", "finetune", "make_train_step"),
    "generation": ("complete", "mean_log_likelihood", "style_shift"),
    "checkpoint": ("save_training", "resume_training", "merge_adapters"),
}

#: Further exercises, of which no run is made: modules, and the functions of each.
ADVANCED: dict[str, tuple[str, ...]] = {
    "planning": ("argument_nbytes", "all_reduce_nbytes", "make_it_fit"),
    "clinic": (
        "too_much_on_each_core",
        "twice_the_collectives",
        "nothing_is_split",
        "one_head_on_eight_cores",
        "moments_on_every_core",
    ),
    "precision": ("share_unchanged", "effect_kept", "adapted_outputs", "add_adapters_in_float32"),
    "multihost": ("process_settings", "own_rows", "rows_of_whole_batch", "whole_value", "save_once"),
}

#: All exercises, in the order of the course.
EXERCISE_FUNCTIONS = PARTS | ADVANCED

REFERENCE = "reference"
EXERCISES = "exercises"


@dataclass
class Parts:
    """One implementation of the parts. A module is imported when it is first asked for."""

    #: "reference", "exercises" or a folder, as it was asked for.
    name: str
    folder: Path
    #: Whether functions that are still to be written are taken from the reference.
    filled: bool = False
    _modules: dict[str, Any] = field(default_factory=dict)

    def __getattr__(self, part: str) -> Any:
        """The module of a part, such as ``parts.mesh``, or of an advanced exercise.

        Raises:
            UserError: if there is no such file, or if it does not import.

        """
        if part not in EXERCISE_FUNCTIONS:
            raise AttributeError(part)
        if part not in self._modules:
            module = self._import(part)
            self._modules[part] = self._fill(part, module) if self.filled else module
        return self._modules[part]

    def missing(self) -> list[str]:
        """The functions that are still to be written, as ``layout.gemma_layout_map``. Nothing is imported.

        Raises:
            UserError: if a file is not there, or is not Python.

        """
        return [name for part in PARTS for name in self.missing_in(part)]

    def missing_in(self, part: str) -> list[str]:
        """The same for one part."""
        return [f"{part}.{function}" for function in self._missing_in(part)]

    def check(self) -> None:
        """Import all modules, and make sure that each has its functions.

        Raises:
            UserError: naming all that is missing, in one sentence.

        """
        missing = [
            f"{part}.{function}"
            for part, functions in PARTS.items()
            for function in functions
            if not callable(getattr(getattr(self, part), function, None))
        ]
        if missing:
            raise UserError(f"--impl {self.name}: missing are {', '.join(missing)}.")

    def _missing_in(self, part: str) -> list[str]:
        if self.name == REFERENCE:
            return []
        try:
            found = missing_functions(self._existing_file(part).read_text(encoding="utf-8"), part)
        except (SyntaxError, UnicodeDecodeError) as error:
            raise UserError(f"--impl {self.name}: {self.file_of(part)} is not Python ({error}).") from None
        return [function for function in EXERCISE_FUNCTIONS[part] if function in found]

    def _fill(self, part: str, module: types.ModuleType) -> Any:
        missing = self._missing_in(part)
        if not missing:
            return module
        try:
            reference = importlib.import_module(f"kit.reference.{part}")
        except ModuleNotFoundError:
            raise UserError(
                f"--fill-with-reference: this copy of the kit has no kit/reference, and {part}.{missing[0]} is still to be written."
            ) from None
        sources = {function: reference if function in missing else module for function in EXERCISE_FUNCTIONS[part]}
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
        except Exception as error:  # whatever a person's file raises when it is imported
            reason = f": {str(error).splitlines()[0]}" if str(error) else ""
            raise UserError(
                f"--impl {self.name}: {self.file_of(part)} does not import ({type(error).__name__}{reason})."
            ) from error

    def file_of(self, part: str) -> Path:
        """Where the part's module is, or would be."""
        return self.folder / f"{part}.py"

    def shown(self, part: str) -> str:
        """The part's module as a person would type it."""
        return f"{self.name.rstrip('/')}/{part}.py"

    def last_frame(self, error: BaseException) -> traceback.FrameSummary | None:
        """The last line of these parts that an error came through."""
        frames = traceback.extract_tb(error.__traceback__)
        theirs = [frame for frame in frames if Path(frame.filename).resolve().is_relative_to(self.folder)]
        return theirs[-1] if theirs else None

    def load(self, part: str) -> types.ModuleType:
        """Import the module of a part. Whatever it raises is passed on."""
        if self.name == REFERENCE:
            return importlib.import_module(f"kit.reference.{part}")
        # A package of its own, so that a part can import its neighbours, and so that no installed module of the same
        # name comes in its way.
        package = "kit_parts_" + "".join(character if character.isalnum() else "_" for character in str(self.folder))
        if package not in sys.modules:
            module = types.ModuleType(package)
            module.__path__ = [str(self.folder)]
            sys.modules[package] = module
        if str(self.folder) not in sys.path:
            sys.path.append(str(self.folder))
        return importlib.import_module(f"{package}.{part}")


def find_parts(impl: str, filled: bool = False) -> Parts:
    """The parts that ``--impl`` names.

    Args:
        impl: "reference", "exercises" (the folder of that name here, else the one beside the kit), or a folder.
        filled: Take what is still to be written from the reference.

    Raises:
        UserError: if there is no such folder.

    """
    if impl == REFERENCE:
        return Parts(impl, Path(__file__).parent / "reference")
    folder = Path(impl).resolve()
    beside_the_kit = Path(__file__).parents[1] / EXERCISES
    if impl == EXERCISES and not folder.is_dir() and beside_the_kit.is_dir():
        folder = beside_the_kit
    if not folder.is_dir():
        raise UserError(
            f"--impl {impl}: there is no such folder here; `--impl reference` runs the parts that come with the kit."
        )
    return Parts(impl, folder, filled)
