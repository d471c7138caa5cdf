"""The wheels of everything that the kit requires on a machine that need not be this one.

`pip download` judges markers such as ``python_version < "3.12"`` by the Python that it runs on, so it cannot resolve for another.
It need not: constraints.txt has every version. What a package requires is read from its wheel and judged by the target's own
values, and pip fetches each wheel on its own.
"""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from email.parser import BytesParser
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

from kit.bundle.targets import Target
from kit.errors import UserError
from kit.narrator import as_bytes

#: Downloads at the same time. Most of the time goes by in waiting, and one large one must not hold up the others.
AT_ONCE = 3

#: Seconds without a wheel after which it is said how much of the next has come.
QUIET_SECONDS = 15

#: What pip needs to install the course's folder.
INSTALLERS = ("pip", "setuptools")


@dataclass
class Collection:
    """Collects the wheels of a target in a folder."""

    target: Target
    #: The repository's folder, with pyproject.toml and constraints.txt.
    root: Path
    #: Where wheels are, and come.
    folder: Path
    #: Is told of each wheel that has come.
    tell: Callable[[str], None]
    #: Wheels of the folder that are known to be whole.
    trusted: frozenset[str] = frozenset()
    #: Package and extra -> done or under way.
    _seen: set[tuple[str, str]] = field(default_factory=set)
    _found: dict[str, Path] = field(default_factory=dict)

    def collect(self, extras: tuple[str, ...] = ()) -> list[Path]:
        """Fetch what is not there yet, and return the target's wheels.

        Args:
            extras: Of the kit, such as "tpu".

        Raises:
            UserError: if a wheel cannot be had; those that have come stay.

        """
        self._versions = _pinned(self.root / "constraints.txt", self.target)
        tags = self.target.tags
        self._rank = {tag: number for number, tag in enumerate(tags)}
        self._here = {path.name: path for path in self.folder.glob("*.whl")}
        self._pip = find_pip()
        waiting: dict[Future[tuple[Path, bool]], str] = {}
        with ThreadPoolExecutor(AT_ONCE) as pool:

            def ask_for(requirements: Iterator[Requirement]) -> None:
                for requirement in requirements:
                    name = canonicalize_name(requirement.name)
                    for extra in ("", *requirement.extras):
                        if (name, extra) in self._seen:
                            continue
                        self._seen.add((name, extra))
                        if extra == "":
                            waiting[pool.submit(self._wheel, requirement)] = name
                        elif name in self._found:
                            ask_for(requirements_of(self._found[name], extra, self.target))

            try:
                ask_for(_of_the_kit(self.root, extras, self.target))
                while waiting:
                    done, _ = wait(waiting, timeout=QUIET_SECONDS, return_when=FIRST_COMPLETED)
                    if not done:
                        self.tell(f"{self._under_way()} of the next have come")
                    for future in done:
                        name = waiting.pop(future)
                        wheel, came = future.result()
                        self._found[name] = wheel
                        if came:
                            version = parse_wheel_filename(wheel.name)[1]
                            self.tell(f"{len(self._found):>4}  {name} {version}, {as_bytes(wheel.stat().st_size)}")
                        for extra in [extra for package, extra in self._seen if package == name]:
                            ask_for(requirements_of(wheel, extra, self.target))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return sorted(self._found.values())

    def _wheel(self, requirement: Requirement) -> tuple[Path, bool]:
        """The wheel of a package, from the folder, from the index, or built from its source; and whether it came just now."""
        name = canonicalize_name(requirement.name)
        version = self._versions.get(name)
        for path in self._here.values():
            if self._fits(path.name, name, version) and (path.name in self.trusted or _is_whole(path)):
                return path, False
        wanted = f"{name}=={version}" if version else f"{name}{requirement.specifier}"
        with tempfile.TemporaryDirectory(prefix=".incoming-", dir=self.folder) as place:
            wheel = self._download(wanted, Path(place)) or self._build(wanted, Path(place))
            final = self.folder / wheel.name
            os.replace(wheel, final)
        return final, True

    def _under_way(self) -> str:
        nbytes = 0
        for place in self.folder.glob(".incoming-*"):
            with contextlib.suppress(OSError):  # it may be done in this moment, and gone
                nbytes += sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
        return as_bytes(nbytes)

    def _fits(self, filename: str, name: str, version: str | None) -> bool:
        found, found_version, _, tags = parse_wheel_filename(filename)
        return (
            found == name and str(found_version) == (version or str(found_version)) and not tags.isdisjoint(self._rank)
        )

    def _download(self, wanted: str, place: Path) -> Path | None:
        platforms = [f"--platform={name}" for name in self.target.platforms()]
        options = ["--no-deps", "--only-binary=:all:", "--implementation=cp", f"--python-version={self.target.python}"]
        return self._run(["download", *options, *platforms, "-d", str(place), wanted], wanted, place)

    def _build(self, wanted: str, place: Path) -> Path:
        """A few packages are published as source alone. A wheel that is built of pure Python runs everywhere."""
        wheel = self._run(["wheel", "--no-deps", "-w", str(place), wanted], wanted, place)
        if wheel is None or parse_wheel_filename(wheel.name)[3].isdisjoint(self._rank):
            raise UserError(
                f"There is no wheel of {wanted} for Python {self.target.python} on {self.target.platform}: give a newer "
                "--platform (such as manylinux_2_34_x86_64 or macosx_15_0_arm64) or another --python, if the room has such."
            )
        return wheel

    def _run(self, arguments: list[str], wanted: str, place: Path) -> Path | None:
        """Run pip; None if the index has no such thing."""
        command = [*self._pip, *arguments, "--quiet", "--disable-pip-version-check", "--no-input"]
        # What is under way lies on the same disk, and goes with the folder.
        environment = {**os.environ, "TMPDIR": str(place)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        wheels = list(place.glob("*.whl"))
        if done.returncode == 0 and len(wheels) == 1:
            return wheels[0]
        if re.search(
            r"connection broken by|Read timed out|ConnectionError|Connection aborted|IncompleteRead", done.stderr
        ):
            raise UserError(
                f"{wanted} did not come from the package index: check the network and run again; what has come is kept."
            )
        if "No matching distribution found" in done.stderr:
            return None
        reasons = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")] or done.stderr.splitlines()
        reason = reasons[-1].removeprefix("ERROR: ") if reasons else f"exit code {done.returncode}"
        if "No space left" in done.stderr:
            reason = "no space left on the disk"
        raise UserError(
            f"pip could not fetch {wanted} ({reason.strip()}): mend that and run again; what has come is kept."
        )


def find_pip() -> list[str]:
    """The command of a pip. The environment of the kit mostly has none.

    Raises:
        UserError: if there is none.

    """
    candidates = [[sys.executable, "-m", "pip"], [getattr(sys, "_base_executable", sys.executable), "-m", "pip"]]
    candidates += [[found, "-m", "pip"] for found in [shutil.which("python3")] if found]
    for command in candidates:
        if subprocess.run([*command, "--version"], capture_output=True, check=False).returncode == 0:
            return command
    raise UserError("There is no pip here to fetch packages with: install it, such as with `python3 -m ensurepip`.")


def requirements_of(wheel: Path, extra: str, target: Target) -> Iterator[Requirement]:
    """What a wheel requires on a target.

    Args:
        wheel: The file.
        extra: One of its extras; "" for what it requires without one.
        target: Where it is to run.

    """
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name))
        lines = BytesParser().parsebytes(archive.read(name)).get_all("Requires-Dist") or []
    yield from _that_apply(lines, extra, target)


def _that_apply(lines: list[str], extra: str, target: Target) -> Iterator[Requirement]:
    for line in lines:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({**target.environment(), "extra": extra}):
            yield requirement


def _of_the_kit(root: Path, extras: tuple[str, ...], target: Target) -> Iterator[Requirement]:
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    lines = [*INSTALLERS, *project["build-system"]["requires"], *project["project"]["dependencies"]]
    for extra in extras:
        lines += project["project"]["optional-dependencies"][extra]
    yield from _that_apply(lines, "", target)


def _pinned(constraints: Path, target: Target) -> dict[str, str]:
    """Package -> its version on a target."""
    versions: dict[str, str] = {}
    for line in constraints.read_text(encoding="utf-8").splitlines():
        text = line.partition("#")[0].strip()
        if not text:
            continue
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            raise UserError(f"{constraints.name} has a line that is no requirement: {text}") from None
        if requirement.marker is None or requirement.marker.evaluate(dict(target.environment())):
            versions[canonicalize_name(requirement.name)] = str(requirement.specifier).removeprefix("==")
    return versions


def _is_whole(wheel: Path) -> bool:
    """Whether all that is in a wheel has its checksum."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile):
        return False
