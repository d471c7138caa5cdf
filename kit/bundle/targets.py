"""The machines that a bundle is for: a Python version on a platform."""

import platform
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from packaging.tags import Tag, compatible_tags, cpython_tags, mac_platforms

from kit.errors import UserError

PYTHONS = ("3.11", "3.12", "3.13")

#: The oldest C library that Linux machines are assumed to have: that of Ubuntu 20.04 and Debian 11.
DEFAULT_GLIBC = 31


@dataclass(frozen=True)
class Target:
    """A Python version on a platform."""

    #: Such as "3.12".
    python: str
    #: In pip's notation, such as "manylinux_2_31_x86_64" or "macosx_14_0_arm64".
    platform: str

    @property
    def system(self) -> str:
        """The value of ``platform.system()`` on the target."""
        return "Darwin" if self.platform.startswith("macosx") else "Linux"

    @property
    def machine(self) -> str:
        """The value of ``platform.machine()`` on the target."""
        return _parts(self.platform)[2]

    @property
    def label(self) -> str:
        """The name of the list of wheels. On the target, Python's own values give the same name."""
        return f"{self.python}-{self.system}-{self.machine}"

    @property
    def tags(self) -> list[Tag]:
        """The tags of wheels that run on the target, best first."""
        version = tuple(map(int, self.python.split(".")))
        platforms = list(self.platforms())
        return [*cpython_tags(version, platforms=platforms), *compatible_tags(version, platforms=platforms)]

    def platforms(self) -> Iterator[str]:
        """The platforms whose wheels run on the target, newest first; pip needs each by name."""
        system, version, machine = _parts(self.platform)
        if system == "macosx":
            yield from mac_platforms(version, machine)
            return
        for minor in range(version[1], 16, -1):
            yield f"manylinux_2_{minor}_{machine}"
            if minor == 17:
                yield f"manylinux2014_{machine}"
        yield from (f"manylinux2010_{machine}", f"manylinux1_{machine}") if machine == "x86_64" else ()
        yield f"linux_{machine}"

    def environment(self) -> dict[str, str]:
        """The values with which the markers of requirements are evaluated for the target."""
        return {
            "implementation_name": "cpython",
            # The patch version is unknown. No requirement of the kit depends on it, and a recent
            # one is likely.
            "implementation_version": f"{self.python}.9",
            "os_name": "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": self.system,
            "platform_version": "",
            "python_full_version": f"{self.python}.9",
            "python_version": self.python,
            "sys_platform": self.system.lower(),
        }


def find_target(python: str | None, platform_name: str | None) -> Target:
    """Return the target with these values; what is None is taken from this machine.

    The platform is in pip's notation; ``manylinux2014_…`` means ``manylinux_2_17_…``. Raises
    UserError if the kit does not run on this Python version, or if the platform is unknown.
    """
    python = python or f"{sys.version_info.major}.{sys.version_info.minor}"
    if python not in PYTHONS:
        raise UserError(f"--python {python}: the kit runs on Python {', '.join(PYTHONS[:-1])} and {PYTHONS[-1]}.")
    platform_name = (platform_name or _this_platform()).replace("manylinux2014_", "manylinux_2_17_")
    _parts(platform_name)
    return Target(python, platform_name)


def _this_platform() -> str:
    if sys.platform == "darwin":
        major = platform.mac_ver()[0].partition(".")[0]
        return f"macosx_{major}_0_{platform.machine()}"
    return f"manylinux_2_{DEFAULT_GLIBC}_{platform.machine()}"


def _parts(name: str) -> tuple[str, tuple[int, int], str]:
    """Split a platform's name into its system, version and machine."""
    match = re.fullmatch(r"(?:(manylinux)_(2)_(\d+)_(x86_64|aarch64)|(macosx)_(\d+)_(\d+)_(arm64|x86_64))", name)
    if match is None:
        raise UserError(
            f"--platform {name}: unknown platform. Use pip's notation, such as manylinux_2_31_x86_64 (Linux with glibc "
            "2.31), manylinux_2_31_aarch64 or macosx_14_0_arm64."
        )
    system, major, minor, machine = filter(None, match.groups())
    return system, (int(major), int(minor)), machine
