"""The learner's workspace: the folder with the exercises, their states, and starting over."""

import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kit.course.catalogue import catalogue
from kit.course.lessons import REFERENCE_FOLDER
from kit.errors import UserError
from kit.files import read_module, write_bytes
from kit.parts.implementation import EXERCISES, KIT_FOLDER, find_parts
from kit.parts.open_tasks import open_functions, untouched_functions

#: The folder where a reset keeps the replaced file. No module has such a name, so it is never taken
#: for an exercise.
BACKUPS = ".backups"

State = Literal["to do", "begun", "written", "missing", "not Python"]


@dataclass(frozen=True)
class Workspace:
    """A folder with exercises."""

    folder: Path

    def file_of(self, exercise: str) -> Path:
        """The file of an exercise, which may not exist."""
        return self.folder / f"{exercise}.py"

    def state(self, exercise: str) -> State:
        """The state of an exercise, found by reading the file; only the tests check the code.

        "to do" is a stub, "begun" has an open task, "written" has none.
        Raises UserError if the file cannot be read.
        """
        content = self._read_bytes(exercise)
        if content is None:
            return "missing"
        if content == stub(exercise).encode():
            return "to do"
        try:
            left = untouched_functions(content, stub(exercise))
        except SyntaxError:
            return "not Python"
        if left.keys() == untouched_functions(stub(exercise), stub(exercise)).keys():
            return "to do"
        return "begun" if left or open_functions(content, exercise) else "written"

    def is_stub(self, exercise: str) -> bool:
        """Whether the file is the stub, byte for byte.

        Raises UserError if the file cannot be read.
        """
        return self._read_bytes(exercise) == stub(exercise).encode()

    def reset(self, exercise: str) -> Path | None:
        """Replace the file by the stub, and return a copy of the file.

        Returns None if there was no file, or if it was the stub. Raises UserError if a file cannot
        be read or written. Then the exercise is unchanged.
        """
        file = self.file_of(exercise)
        before = self._read_bytes(exercise)
        fresh = stub(exercise).encode()
        if before == fresh:
            return None
        try:
            backup = None if before is None else self._keep(exercise, before)
            write_bytes(file, fresh)
        except OSError as error:
            raise UserError(
                f"{shown(file)} is unchanged, because {shown(Path(error.filename or self.folder))} cannot be "
                f"written ({error.strerror})."
            ) from None
        return backup

    def _keep(self, exercise: str, content: bytes) -> Path:
        folder = self.folder / BACKUPS
        folder.mkdir(exist_ok=True)
        numbers = [
            int(match[1])
            for path in folder.iterdir()
            if (match := re.fullmatch(rf"{exercise}-(\d+)\.py", path.name)) is not None
        ]
        number = max(numbers, default=0) + 1
        while True:
            backup = folder / f"{exercise}-{number}.py"
            # "x" fails if the file exists, so that no earlier copy is lost, even if two commands
            # reset at the same time.
            with contextlib.suppress(FileExistsError), backup.open("xb") as copy:
                copy.write(content)
                return backup
            number += 1

    def _read_bytes(self, exercise: str) -> bytes | None:
        file = self.file_of(exercise)
        try:
            return read_module(file)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UserError(f"{shown(file)} cannot be read ({error.strerror}).") from None


def find_workspace(folder: str = EXERCISES) -> Workspace:
    """The folder with the learner's exercises.

    "exercises" means the one in the current folder, else the one beside the kit. Raises UserError
    if there is no such folder, or if it belongs to the kit.
    """
    try:
        found = find_parts(folder).folder
    except UserError:
        if folder == EXERCISES:
            raise UserError(
                f"There is no folder {EXERCISES}/ here: change to the folder that contains it, or write the course "
                "into this folder with `kit init`."
            ) from None
        raise UserError(
            f"--folder {folder}: there is no such folder here. Name the folder with your exercises, or change to the "
            f"folder that contains {EXERCISES}/."
        ) from None
    if found.resolve() == REFERENCE_FOLDER.resolve():
        raise UserError(f"--folder {folder}: this folder belongs to the kit. Name the folder with your exercises.")
    return Workspace(found)


def workspace_of(impl: str) -> Workspace | None:
    """The workspace that ``--impl`` names; None if it names parts of the kit itself.

    Raises UserError if there is no such folder.
    """
    folder = find_parts(impl).folder
    return None if folder.resolve().is_relative_to(KIT_FOLDER.resolve()) else Workspace(folder)


def stub(exercise: str) -> str:
    """The file that a learner starts from."""
    return catalogue().stub(exercise)


def shown(path: Path) -> str:
    """The path as a user would type it in the current folder."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
