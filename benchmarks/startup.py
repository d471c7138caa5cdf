"""How long the command line takes to start: `kit --help` against an empty Python, in whole processes, the median of nine.

The budget of `kit --help` is 0.3 s on 2 cores. Usage: python benchmarks/startup.py
"""

import statistics
import subprocess
import sys
import time

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import kit": ["-c", "import kit"],
    "kit --help": ["-c", "from kit.cli.main import main; main()", "--help"],
}


def seconds(arguments: list[str]) -> float:
    """Seconds of one process, from its start to its end."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    """Print a line for each command."""
    for name, arguments in COMMANDS.items():
        seconds(arguments)  # the first run reads the files from disk
        times = [seconds(arguments) for _ in range(9)]
        print(f"{name:<16} {statistics.median(times):.3f} s  ({min(times):.3f} to {max(times):.3f})")


if __name__ == "__main__":
    main()
