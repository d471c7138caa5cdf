"""How long commands take to start, each in a process of its own: the median of nine.

The budget of `kit --help` is 0.3 s on 2 cores. pytest loads the kit's plugin at every start, unless
it is started with `-p no:kit`. Usage: python benchmarks/startup.py
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import kit": ["-c", "import kit"],
    "import kit.checks": ["-c", "import kit.checks"],
    "kit --help": ["-c", "from kit.cli.main import main; main()", "--help"],
    "pytest --version": ["-m", "pytest", "--version"],
    "pytest --version -p no:kit": ["-m", "pytest", "--version", "-p", "no:kit"],
    "pytest, no tests": ["-m", "pytest", "-q"],
    "pytest, no tests, -p no:kit": ["-m", "pytest", "-q", "-p", "no:kit"],
}
ROUNDS = 9
#: pytest's exit code without tests.
NO_TESTS = 5


def seconds(arguments: list[str], folder: str) -> float:
    """Seconds from the start to the end of one process."""
    started = time.perf_counter()
    finished = subprocess.run(
        [sys.executable, *arguments], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
    )
    took = time.perf_counter() - started
    if finished.returncode not in (0, NO_TESTS):
        raise SystemExit(f"{' '.join(arguments)}: exit code {finished.returncode}")
    return took


def main() -> None:
    """Print one line per command."""
    # In an empty folder, pytest finds no ini file and no conftest.py.
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PYTHONSAFEPATH"] = "1"
        times: dict[str, list[float]] = {name: [] for name in COMMANDS}
        # Commands take turns, so that other work of the machine affects all of them. The first
        # round reads from disk.
        for number in range(ROUNDS + 1):
            for name, arguments in COMMANDS.items():
                took = seconds(arguments, folder)
                if number:
                    times[name].append(took)
    for name, taken in times.items():
        print(f"{name:<28} {statistics.median(taken):.3f} s  ({min(taken):.3f} to {max(taken):.3f})")


if __name__ == "__main__":
    main()
