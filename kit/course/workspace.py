"""The learner's workspace: the folder with the exercises, how far each is, and how one begins anew."""

import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kit.course.catalogue import catalogue
from kit.course.lessons import REFERENCE_FOLDER
from kit.errors import UserError
from kit.files import write_bytes
from kit.parts.implementation import EXERCISES, find_parts
from kit.parts.open_tasks import open_functions, untouched_functions

#: Where a reset keeps what it replaces; a name that no module has, so that nothing takes it for an exercise.
BACKUPS = ".backups"

State = Literal["to do", "begun", "written", "missing", "not Python"]


@dataclass(frozen=True)
class Workspace:
    """A folder with exercises."""

    folder: Path

    def file_of(self, exercise: str) -> Path:
        """Where the module of an exercise is, or would be."""
        return self.folder / f"{exercise}.py"

    def state(self, exercise: str) -> State:
        """How far an exercise is, by reading alone: whether what is written is right is for the tests to say.

        "to do" is a stub, "begun" has a task left, "written" has none.

        Raises:
            UserError: if the file cannot be read.

        """
        content = self._read_bytes(exercise)
        if content is None:
            return "missing"
        try:
            source = content.decode("utf-8")
            left = untouched_functions(source, stub(exercise))
        except (SyntaxError, ValueError):
            # ValueError: bytes that are not UTF-8, or a null among them.
            return "not Python"
        if left.keys() == untouched_functions(stub(exercise), stub(exercise)).keys():
            return "to do"
        return "begun" if left or open_functions(source, exercise) else "written"

    def is_stub(self, exercise: str) -> bool:
        """Whether the file is the stub, byte for byte.

        Raises:
            UserError: if the file cannot be read.

        """
        return self._read_bytes(exercise) == stub(exercise).encode()

    def reset(self, exercise: str) -> Path | None:
        """Put the stub back into its place, and keep what was there.

        Returns:
            The file with what was there; None if nothing was, or nothing but the stub.

        Raises:
            UserError: if a file cannot be read or written. Then the exercise is as it was.

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
                f"{shown(file)} was left as it is, since {shown(Path(error.filename or self.folder))} cannot be "
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
            # "x" refuses a file that is there, so that no earlier copy is ever lost, whoever else resets just now.
            with contextlib.suppress(FileExistsError), backup.open("xb") as copy:
                copy.write(content)
                return backup
            number += 1

    def _read_bytes(self, exercise: str) -> bytes | None:
        file = self.file_of(exercise)
        try:
            return file.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UserError(f"{shown(file)} cannot be read ({error.strerror}).") from None


def find_workspace(folder: str = EXERCISES) -> Workspace:
    """The folder with the learner's exercises.

    Args:
        folder: A folder; "exercises" is the one here, else the one beside the kit.

    Raises:
        UserError: if there is no such folder, or if it is one of the kit's own.

    """
    try:
        found = find_parts(folder).folder
    except UserError:
        raise UserError(
            f"--folder {folder}: there is no such folder here; go to the folder that has your exercises/ in it, or name it."
        ) from None
    if found.resolve() == REFERENCE_FOLDER.resolve():
        raise UserError(f"--folder {folder}: that is the kit's own folder, and not one with exercises of yours.")
    return Workspace(found)


def stub(exercise: str) -> str:
    """What a learner starts from."""
    return catalogue().stub(exercise)


def shown(path: Path) -> str:
    """A path as a person would type it here."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
