"""Which hints a learner has seen, in a file beside the exercises."""

import json
from pathlib import Path

from kit.course.workspace import Workspace
from kit.errors import UserError
from kit.files import write_json


class Progress:
    """The number of hints shown per exercise, in ``.kit/progress.json`` beside the exercises."""

    def __init__(self, workspace: Workspace) -> None:
        """Find the file, without reading it."""
        self.file: Path = workspace.folder.parent / ".kit" / "progress.json"

    def hints_shown(self, exercise: str) -> int:
        """The number of hints of an exercise that were shown.

        Raises UserError if the file cannot be read or is damaged.
        """
        shown: int = self._read()["hints"].get(exercise, 0)
        return shown

    def show_hints(self, exercise: str, number: int) -> None:
        """Write the number of hints of an exercise that were shown.

        Raises UserError if the file cannot be read or written, or is damaged.
        """
        content = self._read()
        content["hints"][exercise] = number
        try:
            self.file.parent.mkdir(exist_ok=True)
            write_json(self.file, content)
        except OSError as error:
            raise UserError(
                f"{self.file} cannot be written ({error.strerror}), so the next hint cannot be remembered: "
                "use `--number N` to show a hint without it."
            ) from None

    def _read(self) -> dict[str, dict[str, int]]:
        try:
            content = json.loads(self.file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {"hints": {}}
        except OSError as error:
            raise UserError(f"{self.file} cannot be read ({error.strerror}).") from None
        except ValueError:
            content = None
        hints = content.get("hints") if isinstance(content, dict) else None
        if not isinstance(hints, dict) or not all(type(number) is int and number >= 0 for number in hints.values()):
            raise UserError(f"{self.file} is damaged: delete it to start over with the first hint.")
        return content
