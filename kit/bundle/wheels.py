"""The wheels of everything that the kit requires on a target.

``pip download`` evaluates markers such as ``python_version < "3.12"`` for the Python that it runs
on, so it cannot resolve for another machine. It does not have to: constraints.txt has every
version. The requirements of a package are read from its wheel, their markers are evaluated with the
target's values, and pip fetches each wheel on its own.
"""

import re
import tomllib
import zipfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from email.parser import BytesParser
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

from kit.bundle.pip import WheelFetcher
from kit.bundle.targets import Target
from kit.errors import UserError
from kit.formatting import format_bytes

#: Downloads at the same time. Most of the time is spent waiting, and one large wheel must not delay
#: the others.
AT_ONCE = 3

#: After this many seconds without a finished wheel, the size of the unfinished ones is reported.
QUIET_SECONDS = 15

#: pip needs these to install the course's folder.
INSTALLERS = ("pip", "setuptools")


def collect_wheels(
    root: Path,
    folder: Path,
    target: Target,
    extras: tuple[str, ...],
    report: Callable[[str], None],
    trusted: frozenset[str] = frozenset(),
) -> list[Path]:
    """Fetch the wheels that the folder does not have yet, and return all wheels of the target.

    ``root`` has pyproject.toml and constraints.txt; ``report`` receives one line per new wheel; the
    checksums of ``trusted`` wheels are known to be right. Raises UserError if a wheel cannot be
    fetched; finished wheels are kept.
    """
    fetcher = WheelFetcher(target, folder, _pinned(root / "constraints.txt", target), trusted)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        collection = _Collection(pool, fetcher, report)
        try:
            collection.require(_of_the_kit(root, extras, target))
            return collection.finish()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


class _Collection:
    """Follows requirements from wheel to wheel."""

    def __init__(self, pool: ThreadPoolExecutor, fetcher: WheelFetcher, report: Callable[[str], None]) -> None:
        self._pool = pool
        self._fetcher = fetcher
        self._report = report
        #: Package and extra that were required so far; the extra "" is the package itself.
        self._required: set[tuple[str, str]] = set()
        self._found: dict[str, Path] = {}
        self._pending: dict[Future[tuple[Path, bool]], str] = {}

    def require(self, requirements: Iterable[Requirement]) -> None:
        """Start to fetch the packages that were not required before."""
        for requirement in requirements:
            name = canonicalize_name(requirement.name)
            for extra in ("", *requirement.extras):
                if (name, extra) in self._required:
                    continue
                self._required.add((name, extra))
                if extra == "":
                    self._pending[self._pool.submit(self._fetcher.fetch, requirement)] = name
                elif name in self._found:
                    self.require(requirements_of(self._found[name], extra, self._fetcher.target))

    def finish(self) -> list[Path]:
        """Wait for all wheels, with what these require in turn."""
        while self._pending:
            done, _ = wait(self._pending, timeout=QUIET_SECONDS, return_when=FIRST_COMPLETED)
            if not done:
                self._report(f"downloading: {self._fetcher.progress()} of the unfinished wheels so far")
            for future in done:
                self._add(self._pending.pop(future), *future.result())
        return sorted(self._found.values())

    def _add(self, name: str, wheel: Path, is_new: bool) -> None:
        self._found[name] = wheel
        if is_new:
            version = parse_wheel_filename(wheel.name)[1]
            self._report(f"{len(self._found):>4}  {name} {version}, {format_bytes(wheel.stat().st_size)}")
        for extra in [extra for package, extra in self._required if package == name]:
            self.require(requirements_of(wheel, extra, self._fetcher.target))


def requirements_of(wheel: Path, extra: str, target: Target) -> Iterator[Requirement]:
    """Yield what a wheel requires on a target for one of its extras; "" is without extras."""
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
    versions: dict[str, str] = {}
    for line in constraints.read_text(encoding="utf-8").splitlines():
        text = line.partition("#")[0].strip()
        if not text:
            continue
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            raise UserError(f"{constraints.name} has a line that is not a requirement: {text}") from None
        if requirement.marker is None or requirement.marker.evaluate(dict(target.environment())):
            versions[canonicalize_name(requirement.name)] = str(requirement.specifier).removeprefix("==")
    return versions
