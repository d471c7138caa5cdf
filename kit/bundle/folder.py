"""The bundle's folder. It is marked as unfinished until everything is in it."""

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
from kit.bundle.pip import INCOMING
from kit.bundle.targets import Target
from kit.bundle.tree import find_root, pack, untracked_files
from kit.bundle.wheels import collect_wheels
from kit.errors import UserError
from kit.formatting import format_bytes

#: This file exists while the folder is unfinished. install.sh looks for it, and its name warns the
#: user.
UNFINISHED = "UNFINISHED.txt"
SUMS = "SHA256SUMS"
ARCHIVE = "course.tar.gz"
#: A folder with this file is a bundle.
MANIFEST = "bundle.json"
#: The folder that the course's archive unpacks into.
TOP = "gemma-course"
#: The folder with one list of wheels per target.
LISTS = "for"
TEMPLATES = Path(__file__).parent / "templates"

#: Bytes of the wheels of a target, measured (962, 662 and 522 MB) and rounded up; and of libtpu
#: (220 MB).
WHEELS_NBYTES = {"Linux-x86_64": 1.1e9, "Linux-aarch64": 0.8e9, "Darwin-arm64": 0.6e9, "Darwin-x86_64": 0.6e9}
LIBTPU_NBYTES = 0.25e9

#: An installation takes this many times the unpacked wheels: modules are compiled, and runs are
#: written.
INSTALLED_PER_UNPACKED = 1.25


def make_bundle(
    folder: Path, target: Target, extras: tuple[str, ...], report: Callable[[str], None], students: bool = False
) -> dict[str, Any]:
    """Make a bundle, complete an unfinished one, or update one and add a target to it.

    With ``students`` the course has no solutions, also when such a bundle is updated. A finished
    bundle is not changed until all wheels have been fetched. Returns the manifest. Raises UserError
    if the folder is not a bundle, if the disk is too small, or if a wheel cannot be fetched.
    """
    root = find_root()
    try:
        return _make(folder, root, target, extras, report, students)
    except OSError as error:
        raise UserError(
            f"kit bundle {folder}: {error.filename or 'a file'} cannot be written ({error.strerror}): fix that and "
            "run again."
        ) from None


def _make(
    folder: Path, root: Path, target: Target, extras: tuple[str, ...], report: Callable[[str], None], students: bool
) -> dict[str, Any]:
    manifest = _open(folder)
    # A bundle that was handed out without solutions must not get them by an update.
    students = students or bool(manifest.get("students"))
    wheels_folder = folder / "wheels"
    _expect_free_space(folder, target, extras)
    for leftover in wheels_folder.glob(f"{INCOMING}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    report(f"wheels for Python {target.python} on {target.platform}")
    sums = _read_sums(folder)
    trusted = frozenset(
        path.name for path in wheels_folder.glob("*.whl") if sums.get(f"wheels/{path.name}") == sha256(path)
    )
    wheels = collect_wheels(root, wheels_folder, target, extras, report, trusted)
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
    manifest = {"kit": __version__, "students": students, "targets": [targets[label] for label in sorted(targets)]}
    _finish(folder, root, manifest)
    if left_out := untracked_files(root):
        more = f" and {len(left_out) - 3} more" if len(left_out) > 3 else ""
        report(f"left out, since git does not track them: {', '.join(map(str, left_out[:3]))}{more}")
    return manifest


def sha256(file: Path) -> str:
    """Return the checksum of a file, in hexadecimal digits."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _open(folder: Path) -> dict[str, Any]:
    """Make the folder, or check an existing one; return its manifest, which may be empty."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"kit bundle {folder}: this is a file; choose a folder.")
    try:
        if folder.is_dir() and any(folder.iterdir()):
            if (folder / MANIFEST).is_file():
                return _read_manifest(folder)
            if not (folder / UNFINISHED).is_file():
                raise UserError(f"kit bundle {folder}: this folder has other files; choose a new or an empty one.")
        else:
            folder.mkdir(parents=True, exist_ok=True)
            _mark_unfinished(folder)
        (folder / "wheels").mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(f"kit bundle {folder}: the folder cannot be made ({error.strerror}).") from None
    return {"targets": []}


def _mark_unfinished(folder: Path) -> None:
    (folder / UNFINISHED).write_text(
        "This bundle is not finished. Run the same kit bundle again: it keeps what is here and completes it.\n",
        encoding="utf-8",
    )


def _read_manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        # Each label and list is read here, so that damage is found now.
        assert all(isinstance(entry["label"], str) and entry["wheels"] for entry in manifest["targets"])
    except (OSError, ValueError, KeyError, TypeError, AssertionError):
        raise UserError(f"kit bundle {folder}: its {MANIFEST} is damaged; delete the folder and run again.") from None
    (folder / "wheels").mkdir(exist_ok=True)
    return manifest


def _expect_free_space(folder: Path, target: Target, extras: tuple[str, ...]) -> None:
    """Report before the download if the disk is too small."""
    needed = WHEELS_NBYTES[f"{target.system}-{target.machine}"] + LIBTPU_NBYTES * ("tpu" in extras)
    wheels, fitting = (folder / "wheels").glob("*.whl"), set(target.tags)
    useful = [path for path in wheels if not fitting.isdisjoint(parse_wheel_filename(path.name)[3])]
    existing = sum(path.stat().st_size for path in useful)
    free = shutil.disk_usage(folder).free
    if needed - existing > free:
        raise UserError(
            f"kit bundle {folder}: the wheels for Python {target.python} on {target.platform} take about "
            f"{format_bytes(needed)}. {format_bytes(existing)} are in the folder and "
            f"{format_bytes(free)} are free: free some "
            "space, or choose another disk."
        )


def _finish(folder: Path, root: Path, manifest: dict[str, Any]) -> None:
    """Make a bundle of the wheels, in a folder that is marked as unfinished until the end."""
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
    pack(root, folder / ARCHIVE, TOP, manifest["students"])
    templates = sorted(path for path in TEMPLATES.iterdir() if path.is_file())
    for template in templates:
        (folder / template.name).write_text(_fill(template, manifest), encoding="utf-8")
        (folder / template.name).chmod(0o755 if template.suffix == ".sh" else 0o644)
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    files = [folder / ARCHIVE, folder / MANIFEST, *sorted((folder / LISTS).glob("*.txt"))]
    files += [folder / template.name for template in templates]
    files += sorted((folder / "wheels").glob("*.whl"))
    sums = "".join(f"{sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in files)
    (folder / SUMS).write_text(sums, encoding="utf-8")
    # A USB stick may be pulled out as soon as the command has ended.
    if hasattr(os, "sync"):
        os.sync()
    (folder / UNFINISHED).unlink()


def _fill(template: Path, manifest: dict[str, Any]) -> str:
    nbytes = INSTALLED_PER_UNPACKED * max(entry["installed_bytes"] for entry in manifest["targets"])
    machines = ", ".join(f"Python {entry['python']} on {_words(entry['label'])}" for entry in manifest["targets"])
    text = template.read_text(encoding="utf-8")
    sizes = {"KILOBYTES": str(int(nbytes / 1000)), "GIGABYTES": f"{nbytes / 1e9:.1f}"}
    for name, value in {"TOP": TOP, "MACHINES": machines, **sizes}.items():
        text = text.replace(f"@{name}@", value)
    return text


def _words(label: str) -> str:
    _, system, machine = label.split("-")
    return f"{'macOS' if system == 'Darwin' else system} {machine}"


def _read_sums(folder: Path) -> dict[str, str]:
    """Return the checksum of each file of the bundle; empty if it was never finished."""
    if not (folder / SUMS).is_file():
        return {}
    lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}


def _unpacked_nbytes(wheel: Path) -> int:
    with zipfile.ZipFile(wheel) as archive:
        return sum(entry.file_size for entry in archive.infolist())
