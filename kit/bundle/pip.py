"""One wheel after another for a machine that need not be this one, fetched or built by pip."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

from packaging.requirements import Requirement
from packaging.tags import Tag
from packaging.utils import canonicalize_name, parse_wheel_filename

from kit.bundle.targets import Target
from kit.errors import UserError
from kit.formatting import format_bytes

#: How pip's messages show that the connection failed.
CONNECTION_FAILED = r"connection broken by|Read timed out|ConnectionError|Connection aborted|IncompleteRead"

#: Folders of downloads in progress begin with this.
INCOMING = ".incoming-"


@dataclass
class WheelFetcher:
    """Fetches wheels of a target into a folder. It may be used from several threads."""

    target: Target
    folder: Path
    #: Package -> pinned version.
    versions: dict[str, str]
    #: Names of wheels in the folder whose checksums are known to be right.
    trusted: frozenset[str] = frozenset()
    _tags: frozenset[Tag] = field(init=False)
    _existing: tuple[Path, ...] = field(init=False)
    _pip: list[str] = field(init=False)

    def __post_init__(self) -> None:
        """Look for pip, and for the wheels that the folder already has."""
        self._tags = frozenset(self.target.tags)
        self._existing = tuple(self.folder.glob("*.whl"))
        self._pip = find_pip()

    def fetch(self, requirement: Requirement) -> tuple[Path, bool]:
        """Return a package's wheel, and whether it is new.

        The wheel is taken from the folder, fetched from the index, or built from source. Raises
        UserError if pip cannot provide it.
        """
        name = canonicalize_name(requirement.name)
        version = self.versions.get(name)
        for path in self._existing:
            if self._fits(path.name, name, version) and (path.name in self.trusted or _is_intact(path)):
                return path, False
        wanted = f"{name}=={version}" if version else f"{name}{requirement.specifier}"
        with tempfile.TemporaryDirectory(prefix=INCOMING, dir=self.folder) as scratch:
            wheel = self._download(wanted, Path(scratch)) or self._build(wanted, Path(scratch))
            final = self.folder / wheel.name
            os.replace(wheel, final)
        return final, True

    def progress(self) -> str:
        """Return the size of the downloads in progress."""
        nbytes = 0
        for scratch in self.folder.glob(f"{INCOMING}*"):
            with contextlib.suppress(OSError):  # a download that finishes at this moment moves its file
                nbytes += sum(path.stat().st_size for path in scratch.rglob("*") if path.is_file())
        return format_bytes(nbytes)

    def _fits(self, filename: str, name: str, version: str | None) -> bool:
        found, found_version, _, tags = parse_wheel_filename(filename)
        return found == name and (version is None or str(found_version) == version) and not tags.isdisjoint(self._tags)

    def _download(self, wanted: str, scratch: Path) -> Path | None:
        platforms = [f"--platform={name}" for name in self.target.platforms()]
        options = ["--no-deps", "--only-binary=:all:", "--implementation=cp", f"--python-version={self.target.python}"]
        return self._run(["download", *options, *platforms, "-d", str(scratch), wanted], wanted, scratch)

    def _build(self, wanted: str, scratch: Path) -> Path:
        """Build a wheel of a package that is published as source; a pure one runs everywhere."""
        wheel = self._run(["wheel", "--no-deps", "-w", str(scratch), wanted], wanted, scratch)
        if wheel is None or parse_wheel_filename(wheel.name)[3].isdisjoint(self._tags):
            raise UserError(
                f"There is no wheel of {wanted} for Python {self.target.python} on {self.target.platform}: choose a "
                "newer --platform (such as manylinux_2_34_x86_64 or macosx_15_0_arm64) or another --python, if the "
                "workshop's machines have it."
            )
        return wheel

    def _run(self, arguments: list[str], wanted: str, scratch: Path) -> Path | None:
        """Run pip and return the wheel that it wrote; None if the index does not have it."""
        command = [*self._pip, *arguments, "--quiet", "--disable-pip-version-check", "--no-input"]
        # pip's temporary files are on the same disk, and are deleted with the folder.
        environment = {**os.environ, "TMPDIR": str(scratch)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        wheels = list(scratch.glob("*.whl"))
        if done.returncode == 0 and len(wheels) == 1:
            return wheels[0]
        if re.search(CONNECTION_FAILED, done.stderr):
            raise UserError(
                f"{wanted} could not be downloaded from the package index: check the network and run again; finished "
                "downloads are kept."
            )
        if "No matching distribution found" in done.stderr:
            return None
        reasons = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")] or done.stderr.splitlines()
        reason = reasons[-1].removeprefix("ERROR: ") if reasons else f"exit code {done.returncode}"
        if "No space left" in done.stderr:
            reason = "no space left on the disk"
        raise UserError(
            f"pip could not fetch {wanted} ({reason.strip()}): fix that and run again; finished downloads are kept."
        )


def find_pip() -> list[str]:
    """Return a command that starts pip. Raises UserError if no Python here has pip."""
    candidates = [[sys.executable, "-m", "pip"], [getattr(sys, "_base_executable", sys.executable), "-m", "pip"]]
    candidates += [[found, "-m", "pip"] for found in [shutil.which("python3")] if found]
    for command in candidates:
        if subprocess.run([*command, "--version"], capture_output=True, check=False).returncode == 0:
            return command
    raise UserError(
        "pip is needed to fetch packages and was not found: install it, such as with `python3 -m ensurepip`."
    )


def _is_intact(wheel: Path) -> bool:
    """Whether the content of a wheel has the checksums that the wheel records."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile):
        return False
