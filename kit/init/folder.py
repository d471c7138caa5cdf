"""Writes the course into a folder, and updates such a folder. What a learner wrote is kept."""

import os
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kit.errors import UserError
from kit.files import new_folder, write_text
from kit.init.files import EXTRAS, course_files
from kit.init.manifest import MANIFEST, Manifest, digest, read_manifest

#: Files are written here first, so that an existing folder gets all of them or none.
INCOMING = ".unfinished-init"
#: What is appended to the name of a newer file beside one that a learner changed.
NEWER = ".new"


@dataclass(frozen=True)
class Conflict:
    """A file that the learner changed, and of which the kit has a newer version."""

    path: str
    #: The functions whose stubs differ; empty if it is not an exercise, or if other lines differ.
    functions: tuple[str, ...]

    @property
    def newer(self) -> str:
        """The path of the newer version."""
        return self.path + NEWER


@dataclass
class Update:
    """What an update does to a folder."""

    #: Files to write, by path.
    written: dict[str, str] = field(default_factory=dict)
    conflicts: list[Conflict] = field(default_factory=list)
    #: Files that are not part of the course any more, and that the learner did not change.
    deleted: list[str] = field(default_factory=list)


def make_folder(folder: Path) -> int:
    """Write the course into a new folder or into an existing one, and return the number of files.

    Raises UserError if a file would be overwritten or cannot be written. Then nothing is written.
    """
    try:
        return _make(folder, course_files())
    except OSError as error:
        raise _cannot_write(folder, error) from None


def _make(folder: Path, files: Mapping[str, str]) -> int:
    if (folder / MANIFEST).is_file():
        command = "kit init --update" if folder == Path() else f"kit init {shlex.quote(str(folder))} --update"
        raise UserError(f"kit init {folder}: this folder has the course already: `{command}` updates it.")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"kit init {folder}: this is a file: choose a folder.")
    if existing := _existing(folder, files):
        more = f" and {len(existing) - 2} more" if len(existing) > 2 else ""
        raise UserError(
            f"kit init {folder}: {', '.join(existing[:2])}{more} would be overwritten: choose an empty folder, such as "
            "`kit init gemma-course`."
        )
    with_manifest = {**files, MANIFEST: Manifest.of(files).as_json()}
    if folder.exists():
        _place(folder, with_manifest)
    else:
        with new_folder(folder) as unfinished:
            _write(unfinished, with_manifest)
    return len(files)


def update_folder(folder: Path) -> Update:
    """Bring newer stubs, tests and settings to a folder that ``make_folder`` made.

    A file that the learner did not change is replaced. Where the learner changed a file and the kit
    has a newer one, that is written beside it. Raises UserError if the folder has no course, or if
    a file cannot be read or written.
    """
    before, files = read_manifest(folder), course_files()
    after = Manifest.of(files)
    try:
        update = _plan(folder, before, after, files)
        newer = {conflict.newer: files[conflict.path] for conflict in update.conflicts}
        # The newer versions are in the manifest as well: an untouched one may be replaced.
        kept = {path: old for path, old in before.files.items() if path.endswith(NEWER) and (folder / path).exists()}
        after.files.update(kept | {path: digest(content.encode()) for path, content in newer.items()})
        _place(folder, {**update.written, **newer, MANIFEST: after.as_json()})
        for path in update.deleted:
            (folder / path).unlink()
    except OSError as error:
        raise _cannot_write(folder, error) from None
    return update


def _plan(folder: Path, before: Manifest, after: Manifest, files: Mapping[str, str]) -> Update:
    update = Update()
    for path, content in files.items():
        now, old, new = _digest_of(folder / path), before.files.get(path), after.files[path]
        if now is None:
            # A learner may delete what the course does not need.
            if old is None or path not in EXTRAS:
                update.written[path] = content
        elif now != new and now == old:
            update.written[path] = content
        elif now != new and old != new and path not in EXTRAS:
            newer = _digest_of(folder / (path + NEWER))
            if newer not in (None, new, before.files.get(path + NEWER)):
                raise UserError(
                    f"{folder / (path + NEWER)} was changed, and a newer one is there: rename it, and run again."
                )
            update.conflicts.append(Conflict(path, tuple(before.changed_functions(after, path))))
    for path, old in before.files.items():
        if path not in files and not path.endswith(NEWER) and _digest_of(folder / path) == old:
            update.deleted.append(path)
    return update


def _digest_of(file: Path) -> str | None:
    return digest(file.read_bytes()) if os.path.lexists(file) else None


def _existing(folder: Path, files: Mapping[str, str]) -> list[str]:
    """What would be overwritten. A file with the same content is from a command that was killed."""
    found: list[str] = []
    for path, content in files.items():
        parents = [parent for parent in (folder / path).relative_to(folder).parents if parent.name]
        in_the_way = [parent for parent in parents if (folder / parent).exists() and not (folder / parent).is_dir()]
        file = folder / path
        if in_the_way:
            found += map(str, in_the_way)
        elif os.path.lexists(file) and not (file.is_file() and file.read_bytes() == content.encode()):
            found.append(path)
    return list(dict.fromkeys(found))


def _place(folder: Path, files: Mapping[str, str]) -> None:
    """Write files completely, then move all of them into an existing folder."""
    incoming = folder / INCOMING
    shutil.rmtree(incoming, ignore_errors=True)
    try:
        _write(incoming, files)
        for path in files:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (incoming / path).replace(folder / path)
    finally:
        shutil.rmtree(incoming, ignore_errors=True)


def _write(folder: Path, files: Mapping[str, str]) -> None:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        write_text(folder / path, content)


def _cannot_write(folder: Path, error: OSError) -> UserError:
    file = error.filename or "a file"
    return UserError(
        f"kit init {folder}: {file} cannot be read or written ({error.strerror}): fix that, and run again."
    )
