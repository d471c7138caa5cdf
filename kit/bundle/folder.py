"""The bundle's folder: begun, filled, and finished in one stroke, so that an unfinished one never looks finished."""

import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from packaging.utils import parse_wheel_filename

from kit import __version__
from kit.bundle.targets import Target
from kit.bundle.tree import find_root, pack, unknown_files
from kit.bundle.wheels import Collection
from kit.errors import UserError
from kit.narrator import as_bytes

#: Is there while the folder is not finished; install.sh asks for it, and a person sees it.
UNFINISHED = "UNFINISHED.txt"
SUMS = "SHA256SUMS"
ARCHIVE = "course.tar.gz"
#: What the folder is known by.
MANIFEST = "bundle.json"
#: The folder that the course's archive unpacks into.
TOP = "gemma-course"
LISTS = "for"
TEMPLATES = Path(__file__).parent / "room"

#: Bytes of the wheels of a target, as seen, with some room (962, 662 and 522 MB); and of libtpu (220 MB).
WHEELS_NBYTES = {"Linux-x86_64": 1.1e9, "Linux-aarch64": 0.8e9, "Darwin-arm64": 0.6e9, "Darwin-x86_64": 0.6e9}
LIBTPU_NBYTES = 0.25e9


def make_bundle(folder: Path, target: Target, extras: tuple[str, ...], tell: Callable[[str], None]) -> dict[str, Any]:
    """Make a bundle, complete an unfinished one, or bring one up to date and add a target to it.

    Until all has come, a finished bundle stays as it is.

    Args:
        folder: To be made, or a bundle.
        target: The machines that it is for.
        extras: Of the kit, such as "tpu".
        tell: Is told what happens.

    Returns:
        The manifest.

    Raises:
        UserError: if the folder holds something else, if the disk has no room, or if something does not come.

    """
    root = find_root()
    try:
        return _make(folder, root, target, extras, tell)
    except OSError as error:
        raise UserError(
            f"kit bundle {folder}: {error.filename or 'it'} cannot be written ({error.strerror}): mend that and run again."
        ) from None


def _make(
    folder: Path, root: Path, target: Target, extras: tuple[str, ...], tell: Callable[[str], None]
) -> dict[str, Any]:
    manifest = _begin(folder)
    wheels_folder = folder / "wheels"
    _require_room(folder, target, extras)
    for leftover in wheels_folder.glob(".incoming-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    tell(f"wheels for Python {target.python} on {target.platform}")
    sums = _read_sums(folder)
    trusted = frozenset(
        path.name for path in wheels_folder.glob("*.whl") if sums.get(f"wheels/{path.name}") == sha256(path)
    )
    wheels = Collection(target, root, wheels_folder, tell, trusted).collect(extras)
    targets = {entry["label"]: entry for entry in manifest["targets"]}
    targets[target.label] = {
        "label": target.label,
        "python": target.python,
        "platform": target.platform,
        "extras": list(extras),
        "wheels": [path.name for path in wheels],
        "bytes": sum(path.stat().st_size for path in wheels),
        "installed_bytes": sum(_unpacked_nbytes(path) for path in wheels),
    }
    manifest = {"kit": __version__, "targets": [targets[label] for label in sorted(targets)]}
    _finish(folder, root, manifest)
    if left_out := unknown_files(root):
        more = f" and {len(left_out) - 3} more" if len(left_out) > 3 else ""
        tell(f"left out, since git does not know them: {', '.join(map(str, left_out[:3]))}{more}")
    return manifest


def sha256(file: Path) -> str:
    """The checksum of a file, in hexadecimal digits."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _begin(folder: Path) -> dict[str, Any]:
    """Make the folder, or look at what is there; the manifest of what it has already."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"kit bundle {folder}: this is a file, and a folder is to be made.")
    try:
        if folder.is_dir() and any(folder.iterdir()):
            if (folder / MANIFEST).is_file():
                return _read_manifest(folder)
            if not (folder / UNFINISHED).is_file():
                raise UserError(
                    f"kit bundle {folder}: the folder holds something else; give one that is new, or empty."
                )
        else:
            folder.mkdir(parents=True, exist_ok=True)
            _mark_unfinished(folder)
        (folder / "wheels").mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(f"kit bundle {folder}: no folder can be made there ({error.strerror}).") from None
    return {"targets": []}


def _mark_unfinished(folder: Path) -> None:
    (folder / UNFINISHED).write_text(
        "This bundle is not finished. Run the same kit bundle again: it goes on with what is here.\n", encoding="utf-8"
    )


def _read_manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        # Each label and list is asked for, so that a damaged manifest is known as one.
        assert all(isinstance(entry["label"], str) and entry["wheels"] for entry in manifest["targets"])
    except (OSError, ValueError, KeyError, TypeError, AssertionError):
        raise UserError(f"kit bundle {folder}: its {MANIFEST} is damaged; delete the folder and run again.") from None
    (folder / "wheels").mkdir(exist_ok=True)
    return manifest


def _require_room(folder: Path, target: Target, extras: tuple[str, ...]) -> None:
    """Say before the download that the disk is too small."""
    wanted = WHEELS_NBYTES[f"{target.system}-{target.machine}"] + LIBTPU_NBYTES * ("tpu" in extras)
    fitting = set(target.tags)
    there = sum(
        path.stat().st_size
        for path in (folder / "wheels").glob("*.whl")
        if not fitting.isdisjoint(parse_wheel_filename(path.name)[3])
    )
    free = shutil.disk_usage(folder).free
    if wanted - there > free:
        raise UserError(
            f"kit bundle {folder}: it takes about {as_bytes(wanted)} for Python {target.python} on {target.platform}, of which "
            f"{as_bytes(there)} are there, and {as_bytes(free)} are free: free some, or give a folder on another disk."
        )


def _finish(folder: Path, root: Path, manifest: dict[str, Any]) -> None:
    """Write all that makes a bundle of wheels. Takes a few seconds, for which the folder counts as unfinished."""
    _mark_unfinished(folder)
    (folder / SUMS).unlink(missing_ok=True)
    needed = {name for entry in manifest["targets"] for name in entry["wheels"]}
    for wheel in (folder / "wheels").glob("*.whl"):
        if wheel.name not in needed:
            wheel.unlink()
    (folder / LISTS).mkdir(exist_ok=True)
    for entry in manifest["targets"]:
        lines = "".join(f"wheels/{name}\n" for name in entry["wheels"])
        (folder / LISTS / f"{entry['label']}.txt").write_text(lines, encoding="utf-8")
    pack(root, folder / ARCHIVE, TOP)
    for template in sorted(TEMPLATES.iterdir()):
        if template.is_file():
            (folder / template.name).write_text(_filled(template, manifest), encoding="utf-8")
            (folder / template.name).chmod(0o755 if template.suffix == ".sh" else 0o644)
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    known = [folder / ARCHIVE, folder / MANIFEST, *sorted((folder / LISTS).glob("*.txt"))]
    known += [folder / template.name for template in sorted(TEMPLATES.iterdir()) if template.is_file()]
    known += sorted((folder / "wheels").glob("*.whl"))
    sums = "".join(f"{sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in known)
    (folder / SUMS).write_text(sums, encoding="utf-8")
    # A stick that is pulled out after the command has ended must have all of it.
    if hasattr(os, "sync"):
        os.sync()
    (folder / UNFINISHED).unlink()


def _filled(template: Path, manifest: dict[str, Any]) -> str:
    largest = max(entry["installed_bytes"] for entry in manifest["targets"])
    machines = ", ".join(f"Python {entry['python']} on {_words(entry['label'])}" for entry in manifest["targets"])
    text = template.read_text(encoding="utf-8")
    for word, value in (
        ("@TOP@", TOP),
        ("@MACHINES@", machines),
        # Modules are compiled, and the course's runs take room.
        ("@KILOBYTES@", str(int(largest * 1.25 / 1000))),
        ("@GIGABYTES@", f"{largest * 1.25 / 1e9:.1f}"),
    ):
        text = text.replace(word, value)
    return text


def _words(label: str) -> str:
    _, system, machine = label.split("-")
    return f"{'macOS' if system == 'Darwin' else system} {machine}"


def _read_sums(folder: Path) -> dict[str, str]:
    """File -> checksum, as of when the bundle was finished last; nothing if it never was."""
    if not (folder / SUMS).is_file():
        return {}
    lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}


def _unpacked_nbytes(wheel: Path) -> int:
    with zipfile.ZipFile(wheel) as archive:
        return sum(entry.file_size for entry in archive.infolist())
