"""What a folder was delivered with: the digest of each file, in ``.kit/init.json``."""

import ast
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from packaging.version import InvalidVersion, Version

from kit import __version__
from kit.errors import UserError
from kit.init.files import is_exercise

MANIFEST = ".kit/init.json"
#: The version of the file's format.
FORMAT = 1


@dataclass(frozen=True)
class Manifest:
    """The files that a version of the kit delivered."""

    kit: str = __version__
    #: Path -> SHA-256 of the content.
    files: dict[str, str] = field(default_factory=dict)
    #: Path of an exercise -> its functions -> SHA-256 of the source of each.
    functions: dict[str, dict[str, str]] = field(default_factory=dict)

    @classmethod
    def of(cls, files: Mapping[str, str]) -> "Manifest":
        """The manifest of these files: path -> content."""
        functions = {path: digests_of_functions(content) for path, content in files.items() if is_exercise(path)}
        return cls(files={path: digest(content.encode()) for path, content in files.items()}, functions=functions)

    def as_json(self) -> str:
        """The content of the file."""
        content = {"format": FORMAT, "kit": self.kit, "files": self.files, "functions": self.functions}
        return json.dumps(content, indent=1) + "\n"

    def changed_functions(self, newer: "Manifest", path: str) -> list[str]:
        """The functions of an exercise whose stubs differ in a newer manifest."""
        old, new = self.functions.get(path, {}), newer.functions.get(path, {})
        return [name for name in (old | new) if old.get(name) != new.get(name)]


def digest(content: bytes) -> str:
    """The SHA-256 of a content, in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def digests_of_functions(source: str) -> dict[str, str]:
    """The SHA-256 of the source of each function, with comments, at the top of a module."""
    nodes = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    return {node.name: digest((ast.get_source_segment(source, node) or "").encode()) for node in nodes}


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a folder.

    Raises UserError if there is none, if it cannot be read, or if a newer kit has written it.
    """
    file = folder / MANIFEST
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        found = Manifest(content["kit"], content["files"], content["functions"])
        newer = content["format"] > FORMAT or Version(found.kit) > Version(__version__)
        assert all(type(value) is str and _stays_inside(path) for path, value in found.files.items())
        assert all(type(functions) is dict for functions in found.functions.values())
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"kit init {folder} --update: there is no {MANIFEST} in this folder, so `kit init` did not make it: change "
            "to the folder with your exercises."
        ) from None
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror}).") from None
    except (ValueError, KeyError, TypeError, AttributeError, AssertionError, InvalidVersion):
        raise UserError(
            f"{file} is damaged: restore it, or make a new folder with `kit init FOLDER` and copy your exercises."
        ) from None
    if newer:
        raise UserError(
            f"kit init {folder} --update: kit {found.kit} made this folder, and this is kit {__version__}: install the "
            "newer kit first."
        )
    return found


def _stays_inside(path: str) -> bool:
    """Whether a path is within the folder: files that a newer kit does not have are deleted."""
    return not PurePosixPath(path).is_absolute() and ".." not in PurePosixPath(path).parts
