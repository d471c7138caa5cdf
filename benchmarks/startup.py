"""How long each command takes to start: CPU seconds and seconds of a process, the median of five.

The budget of `kit --help` is 0.3 s on 2 cores. pytest loads the kit's plugin at every start, unless
it is started with `-p no:kit`. Usage: python benchmarks/startup.py [CHECKOUT …]

With other checkouts of the kit, such as one of an earlier commit, all take turns, and the table
compares their CPU seconds. A command whose option is wrong ends before it imports JAX.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
KIT = ["-c", "from kit.cli.main import main; main()"]
PREPARED = "from kit.runtime.platform import prepare_environment; prepare_environment('cpu'); "
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import kit": ["-c", "import kit"],
    "import kit.checks": ["-c", "import kit.checks"],
    "import keras, in a process of the kit": ["-c", PREPARED + "import keras"],
    "import keras_hub, in a process of the kit": ["-c", PREPARED + "import keras_hub"],
    "kit --help": [*KIT, "--help"],
    "kit, the board": KIT,
    "kit check lora, a stub": [*KIT, "check", "lora"],
    "kit check nope": [*KIT, "check", "nope"],
    "kit lesson": [*KIT, "lesson"],
    "kit lesson mesh": [*KIT, "lesson", "mesh"],
    "kit hint mesh": [*KIT, "hint", "mesh"],
    "kit solution mesh --give-up": [*KIT, "solution", "mesh", "--give-up"],
    "kit watch --help": [*KIT, "watch", "--help"],
    "kit watch nope": [*KIT, "watch", "nope"],
    "kit run --preset nope": [*KIT, "run", "--preset", "nope"],
    "kit run --mesh 3x4": [*KIT, "run", "--mesh", "3x4"],
    "kit plan nope": [*KIT, "plan", "nope"],
    "kit plan --mesh 3x4": [*KIT, "plan", "--mesh", "3x4"],
    "kit plan --impl nope": [*KIT, "plan", "--impl", "nope"],
    "kit export nope folder": [*KIT, "export", "nope", "folder"],
    "kit report nope": [*KIT, "report", "nope"],
    "kit grade nope": [*KIT, "grade", "nope"],
    "kit bundle --help": [*KIT, "bundle", "--help"],
    "kit doctor": [*KIT, "doctor"],
    "kit dev check nope": [*KIT, "dev", "check", "nope"],
    "pytest --version": ["-m", "pytest", "--version"],
    "pytest --version -p no:kit": ["-m", "pytest", "--version", "-p", "no:kit"],
    "pytest, no tests": ["-m", "pytest", "-q"],
    "pytest, no tests, -p no:kit": ["-m", "pytest", "-q", "-p", "no:kit"],
}
ROUNDS = 5
#: Of a wrong option, and pytest's without tests. `kit doctor` has 1 where something is missing.
EXPECTED = (0, 1, 2, 5)


def run(arguments: list[str], checkout: Path, folder: str) -> tuple[float, float]:
    """CPU seconds, also of processes that the command starts, and seconds of one process."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    finished = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(checkout), "PYTHONSAFEPATH": "1", "KERAS_BACKEND": "jax"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    took, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if finished.returncode not in EXPECTED:
        raise SystemExit(f"{' '.join(arguments)}: exit code {finished.returncode}")
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, took


def main() -> None:
    """Print one line per command."""
    checkouts = [Path(path).resolve() for path in sys.argv[1:]] or [ROOT]
    # In this folder, pytest finds no ini file and no conftest.py.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "exercises").mkdir()
        for stub in (ROOT / "exercises").glob("*.py"):
            Path(folder, "exercises", stub.name).write_bytes(stub.read_bytes())
        found: dict[str, dict[Path, list[tuple[float, float]]]] = {
            name: {checkout: [] for checkout in checkouts} for name in COMMANDS
        }
        # Commands take turns, so that other work of the machine affects all of them. The first
        # round reads from disk.
        for number in range(ROUNDS + 1):
            for name, arguments in COMMANDS.items():
                for checkout in checkouts:
                    taken = run(arguments, checkout, folder)
                    if number:
                        found[name][checkout].append(taken)
    shown = [checkout.name for checkout in checkouts]
    print(f"{'':<42}" + "".join(f"  {name[:20]:>20}" for name in shown))
    for name, by_checkout in found.items():
        medians = [[statistics.median(values) for values in zip(*taken, strict=True)] for taken in by_checkout.values()]
        print(f"{name:<42}" + "".join(f"  {f'{cpu:.2f} s CPU, {took:.2f} s':>20}" for cpu, took in medians))


if __name__ == "__main__":
    main()
