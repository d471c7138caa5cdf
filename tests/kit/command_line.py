"""The command ``kit`` in processes of its own, as a user starts it."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kit.runtime.processes import ADDRESSES, COUNT, ID

#: Runs a command in the tests' own process; returns exit code, standard output and messages.
Kit = Callable[..., tuple[int, str, str]]

#: Starts `kit` with the Python that runs the tests.
KIT = [sys.executable, "-c", "from kit.cli.main import main; main()"]


def kit(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess:
    """Run a command and return its exit code and its output."""
    return subprocess.run(
        [*KIT, *arguments], capture_output=True, text=True, cwd=cwd, env={**os.environ, **environment}, check=False
    )


def run_python(code: str, *arguments: str, **options: Any) -> subprocess.CompletedProcess:
    """Run a program in a process of its own, which must succeed."""
    command = [sys.executable, "-c", code, *arguments]
    finished = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished


def without_progress(printed: str) -> str:
    """What was printed without the lines about what takes long on a busy machine."""
    return re.sub(r"^    .* … (\d+ min )?\d+ s\n", "", printed, flags=re.MULTILINE)


def expect_one_sentence(printed: str, message: str) -> None:
    """Standard error has one line, from `kit`, with this message."""
    (line,) = without_progress(printed).strip().splitlines()
    assert line.startswith("kit: ")
    assert message in line


def connected_runs(count: int, options: list[str], cwd: Path) -> list[subprocess.Popen]:
    """Start ``kit run --json`` in ``count`` processes that Keras connects.

    Standard error goes to ``process-N.txt``, and standard output to ``process-N.json``.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    processes = []
    for number in range(count):
        environment = os.environ | process_of_several(port, count, number)
        with (cwd / f"process-{number}.txt").open("w") as errors, (cwd / f"process-{number}.json").open("w") as output:
            command = [*KIT, "run", "--json", *options]
            heed_interrupts()
            processes.append(subprocess.Popen(command, cwd=cwd, env=environment, stdout=output, stderr=errors))
    return processes


def heed_interrupts() -> None:
    """Let new processes be stopped by Ctrl-C, also if a shell runs the tests in the background.

    A process inherits that a signal is ignored, but no handler.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def process_of_several(port: int, count: int, number: int) -> dict[str, str]:
    """Keras' environment variables for one of several processes."""
    return {ADDRESSES: f"127.0.0.1:{port}", COUNT: str(count), ID: str(number)}


def kill_after_first_checkpoint(options: list[str], cwd: Path) -> Path:
    """Start ``kit run``, kill it as soon as it has a checkpoint, and return the run's folder."""
    printed = cwd / "printed.txt"
    with printed.open("w") as output:
        process = subprocess.Popen([*KIT, "run", *options], cwd=cwd, stdout=output, stderr=output)
    try:
        return wait_for_first_checkpoint([process], cwd, printed)
    finally:
        process.kill()
        process.wait()


def wait_for_first_checkpoint(processes: list[subprocess.Popen], cwd: Path, printed: Path) -> Path:
    """Wait until the run of these processes has a checkpoint, and return the run's folder."""
    until = time.monotonic() + 480
    while not (checkpoints := list(cwd.glob("runs/*/saves/step-000001"))):
        assert time.monotonic() < until, "no checkpoint within eight minutes"
        assert all(process.poll() is None for process in processes), printed.read_text()
        time.sleep(0.01)
    return checkpoints[0].parent.parent
