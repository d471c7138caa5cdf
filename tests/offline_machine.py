"""A room without a network: makes a bundle, and installs and uses it where there is none, as a learner does.

The room is a network namespace of its own with nothing in it but the machine's own address, a home that is empty, and no more on the
PATH than /usr/bin and /bin. There install.sh runs, then all tests, a short run, and the first exercise: red on its stub, and green
when it is written. Takes a quarter of an hour on 2 cores, 2 minutes of it for the download, and 8 GB on the disk. Linux alone, with
iproute2.

Usage: python tests/offline_room.py [--bundle FOLDER] [--python COMMAND]
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

#: What a command is started with, so that there is no network.
NAMESPACE = ("unshare", "--map-root-user", "--net", "--")

#: Asks for a host by its address, so that no resolver is to blame, and for the way out.
NO_NETWORK = """
import socket
try:
    socket.create_connection(("192.0.2.1", 443), timeout=5)
except OSError as error:
    print("no network:", error.strerror)
else:
    raise SystemExit("there is a network")
"""


@dataclass
class Room:
    """Where the learner sits."""

    home: Path
    python: str
    #: Of iproute2.
    ip: str
    problems: list[str] = field(default_factory=list)

    @property
    def course(self) -> Path:
        """The learner's copy."""
        return self.home / "gemma-course"

    def run(self, title: str, command: Sequence[str], says: str = "", exit_code: int = 0) -> None:
        """Run a command in the room, show how it ends, and note what was not expected."""
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
            self.problems.append(f"{title}: exit code {exit_code} was expected, and {done.returncode} came")
        if says not in done.stdout:
            self.problems.append(f"{title}: it does not say {says!r}")


def main() -> int:
    """Make the bundle, use it, and give the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, help="a bundle that is there; by default one is made")
    parser.add_argument("--python", default="", help="the room's Python, if it is not /usr/bin/python3")
    options = parser.parse_args()
    ip = shutil.which("ip", path=f"{os.defpath}:/usr/sbin:/sbin")
    if ip is None or subprocess.run([*NAMESPACE, ip, "link", "set", "lo", "up"], check=False).returncode:
        parser.error(f"this system makes no network namespace ({' '.join(NAMESPACE)}), or has no ip (iproute2)")
    with tempfile.TemporaryDirectory(prefix="kit-room-") as scratch:
        bundle = options.bundle or Path(scratch, "bundle")
        if options.bundle is None:
            subprocess.run([str(Path(sys.executable).with_name("kit")), "bundle", str(bundle)], check=True)
        room = Room(Path(scratch, "home"), options.python, ip)
        room.home.mkdir()
        room.run("is the network off", ["python3", "-c", NO_NETWORK], says="no network:")
        room.run("install.sh", ["sh", str(bundle.resolve() / "install.sh")], says="Done. Next: ")
        # The stick goes.
        hidden = bundle.with_name(bundle.name + "-gone")
        os.rename(bundle, hidden)
        try:
            use(room)
        finally:
            os.rename(hidden, bundle)
    print("\n".join(room.problems) or "The room had all that it needs.")
    return 1 if room.problems else 0


def use(room: Room) -> None:
    """Do what a learner and a cautious lead do first."""
    commands = room.course / ".venv" / "bin"
    room.run("kit doctor", [str(commands / "kit"), "doctor"], says="`kit run` can run here.")
    room.run("pytest --impl=reference", [str(commands / "pytest"), "--impl=reference", "-q"], says=" passed")
    room.run("kit run --batches 20", [str(commands / "kit"), "run", "--batches", "20"], says="Saved")
    mesh = [str(commands / "pytest"), "-q", "tests/exercises/test_mesh.py"]
    room.run("pytest tests/exercises/test_mesh.py, a stub", mesh, says="NOT_IMPLEMENTED", exit_code=1)
    shutil.copy(room.course / "kit" / "reference" / "mesh.py", room.course / "exercises" / "mesh.py")
    room.run("pytest tests/exercises/test_mesh.py, written", mesh, says=" passed")


if __name__ == "__main__":
    sys.exit(main())
