"""What to type after `kit init`, and after an update of a folder."""

import os
import shlex
from pathlib import Path

from kit.course.catalogue import catalogue
from kit.init.folder import Update
from kit.installation import activation


def first_steps(folder: Path) -> list[str]:
    """The commands that begin the course, as they work in the current folder."""
    first = catalogue().names[0]
    lines = [] if folder.resolve() == Path.cwd() else [f"cd {shlex.quote(str(folder))}"]
    activate = activation()
    return [*lines, *([activate] if activate else []), f"kit lesson {first}", f"kit check {first}"]


def as_lines(update: Update, folder: Path) -> list[str]:
    """What an update did, a line for each file or conflict."""
    lines = [f"written: {_shown(folder, path)}" for path in update.written]
    lines += [f"deleted: {_shown(folder, path)}, which is not part of the course any more" for path in update.deleted]
    for conflict in update.conflicts:
        file, newer = (_shown(folder, path) for path in (conflict.path, conflict.newer))
        where = f" in {', '.join(conflict.functions)}" if conflict.functions else ""
        lines.append(f"conflict: you changed {file}, and the kit changed it too{where}. Yours is kept; compare:")
        lines.append(f"    diff {shlex.quote(file)} {shlex.quote(newer)}")
    return lines


def _shown(folder: Path, path: str) -> str:
    return os.path.normpath(folder / path)
