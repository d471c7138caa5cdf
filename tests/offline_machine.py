"""Makes a bundle, then installs and uses it without a network, as a learner does.

The commands run in a network namespace that has only the loopback interface, with an empty home and
nothing but /usr/bin and /bin on the PATH: install.sh, all tests, a short run, and the first
exercise, which fails as a stub and passes as a solution. Takes a quarter of an hour on 2 cores, 2
minutes of it for the download, and 8 GB of disk. Linux only, with iproute2.

Usage: python tests/offline_machine.py [--bundle FOLDER] [--python COMMAND]
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

#: Starts a command without a network.
NAMESPACE = ("unshare", "--map-root-user", "--net", "--")

#: Connects to an address, so that the result does not depend on a resolver.
NO_NETWORK = """
import socket
try:
    socket.create_connection(("192.0.2.1", 443), timeout=5)
except OSError as error:
    print("no network:", error.strerror)
else:
    raise SystemExit("the network is on")
"""


@dataclass
class OfflineMachine:
    """A machine without a network, as a learner has it."""

    home: Path
    python: str
    #: The command of iproute2.
    ip: str
    problems: list[str] = field(default_factory=list)

    @property
    def course(self) -> Path:
        """The learner's copy of the course."""
        return self.home / "gemma-course"

    def run(self, title: str, command: Sequence[str], says: str = "", exit_code: int = 0) -> None:
        """Run a command, print the end of its output, and note what was not expected."""
        print(f"+ {title}", flush=True)
        environment = {
            "HOME": str(self.home),
            "XDG_CACHE_HOME": str(self.home / "cache"),
            "PATH": "/usr/bin:/bin",
            "LANG": "C.UTF-8",
        }
        if self.python:
            environment["PYTHON"] = self.python
        started = time.perf_counter()
        done = subprocess.run(
            [*NAMESPACE, "sh", "-c", f'{self.ip} link set lo up && exec "$@"', "sh", *command],
            cwd=self.course if self.course.is_dir() else self.home,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        lines = done.stdout.strip().splitlines()
        print("\n".join("    " + line for line in lines[-8:]))
        print(f"    exit code {done.returncode}, {time.perf_counter() - started:.0f} s", flush=True)
        if done.returncode != exit_code:
            self.problems.append(f"{title}: expected exit code {exit_code}, got {done.returncode}")
        if says not in done.stdout:
            self.problems.append(f"{title}: {says!r} is not in its output")


def main() -> int:
    """Make the bundle, use it, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, help="an existing bundle; by default, a new one is made")
    parser.add_argument("--python", default="", help="the Python to install with, if not /usr/bin/python3")
    options = parser.parse_args()
    ip = shutil.which("ip", path=f"{os.defpath}:/usr/sbin:/sbin")
    if ip is None or subprocess.run([*NAMESPACE, ip, "link", "set", "lo", "up"], check=False).returncode:
        parser.error(f"this system cannot make a network namespace ({' '.join(NAMESPACE)}), or has no ip (iproute2)")
    with tempfile.TemporaryDirectory(prefix="kit-offline-") as scratch:
        bundle = options.bundle or Path(scratch, "bundle")
        if options.bundle is None:
            subprocess.run([str(Path(sys.executable).with_name("kit")), "bundle", str(bundle)], check=True)
        machine = OfflineMachine(Path(scratch, "home"), options.python, ip)
        machine.home.mkdir()
        machine.run("is the network off", ["python3", "-c", NO_NETWORK], says="no network:")
        machine.run("install.sh", ["sh", str(bundle.resolve() / "install.sh")], says="Done. Next: ")
        # The USB stick is removed.
        hidden = bundle.with_name(bundle.name + "-gone")
        os.rename(bundle, hidden)
        try:
            use(machine)
        finally:
            os.rename(hidden, bundle)
    print("\n".join(machine.problems) or "The bundle had everything that it needs.")
    return 1 if machine.problems else 0


def use(machine: OfflineMachine) -> None:
    """Do what a learner and a careful instructor do first."""
    commands = machine.course / ".venv" / "bin"
    machine.run("kit doctor", [str(commands / "kit"), "doctor"], says="`kit run` can run here.")
    machine.run("pytest --impl=reference", [str(commands / "pytest"), "--impl=reference", "-q"], says=" passed")
    machine.run("kit run --batches 20", [str(commands / "kit"), "run", "--batches", "20"], says="Saved")
    mesh = [str(commands / "pytest"), "-q", "tests/exercises/test_mesh.py"]
    machine.run("pytest tests/exercises/test_mesh.py, a stub", mesh, says="NOT_IMPLEMENTED", exit_code=1)
    shutil.copy(machine.course / "kit" / "reference" / "mesh.py", machine.course / "exercises" / "mesh.py")
    machine.run("pytest tests/exercises/test_mesh.py, written", mesh, says=" passed")


if __name__ == "__main__":
    sys.exit(main())
