"""Time to the first verdict in a new process, and to a verdict after you save; the median of three.

Budgets on 2 cores: 1 s on a stub; on a written mesh 1.3 times `import keras` of the same run; 1 s
after you save in `kit watch` (mesh, layout, lora: without the checks that compile a complete
program). Usage: python benchmarks/first_verdict.py
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from kit.course.catalogue import catalogue
from kit.judge.runner import Runner
from kit.parts.implementation import REFERENCE

ROOT = Path(__file__).parents[1]
ROUNDS = 3
MESH = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/exercises/test_mesh.py"]
COMMANDS = {
    "import keras": ["-c", "import keras"],
    "pytest test_mesh.py, a stub": [*MESH, "--impl=STUBS"],
    "pytest test_mesh.py, written": [*MESH, f"--impl={REFERENCE}"],
}


def main() -> None:
    """Print one line per command."""
    time_commands()
    time_verdicts_after_saving()


def time_commands() -> None:
    """Time each command in a process of its own."""
    os.environ["KERAS_BACKEND"] = "jax"
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as stubs:
        for exercise in catalogue().names:
            Path(stubs, f"{exercise}.py").write_text(catalogue().stub(exercise), encoding="utf-8")
        for number in range(ROUNDS + 1):
            for name, arguments in COMMANDS.items():
                command = [sys.executable, *(argument.replace("STUBS", stubs) for argument in arguments)]
                started = time.perf_counter()
                subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
                # The first round reads from disk.
                if number:
                    times[name].append(time.perf_counter() - started)
    for name, taken in times.items():
        print(f"{name:<34} {statistics.median(taken):.2f} s  ({min(taken):.2f} to {max(taken):.2f})")
    ratio = statistics.median(times["pytest test_mesh.py, written"]) / statistics.median(times["import keras"])
    print(f"{'written mesh / import keras':<34} {ratio:.2f}")


def time_verdicts_after_saving() -> None:
    """Time the checks of an exercise as `kit watch` runs them."""
    with Runner(catalogue()) as runner:
        for exercise in ("mesh", "layout", "lora"):
            checks = [
                check for check in catalogue().checks_of(exercise) if check.layer not in ("program", "tpu_compile")
            ]
            rounds = []
            for number in range(ROUNDS + 1):
                started = time.perf_counter()
                runner.forget(REFERENCE)
                runner.begin((REFERENCE, check) for check in reversed(checks))
                assert all(runner.run(REFERENCE, check).passed for check in checks)
                if number:
                    rounds.append(time.perf_counter() - started)
            print(f"{f'after saving, {exercise}, {len(checks)} checks':<34} {statistics.median(rounds):.2f} s")


if __name__ == "__main__":
    main()
