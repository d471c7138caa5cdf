"""How long a learner waits for a first verdict, in whole processes, and for one after a save; the median of three.

Budgets on 2 cores: 1 s on a stub; on a written mesh 1.3 times `import keras` of the same run; 1 s after a save in `kit watch`
(mesh, layout, lora: without those that compile a whole program). Usage: python benchmarks/first_verdict.py
"""

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from kit.judge.catalogue import checks_of
from kit.judge.runner import Runner
from kit.course.regions import STUBS_FOLDER
from kit.parts.implementation import REFERENCE

ROOT = Path(__file__).parents[1]
ROUNDS = 3
MESH = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/exercises/test_mesh.py"]
COMMANDS = {
    "import keras": ["-c", "import keras"],
    "pytest test_mesh.py, a stub": [*MESH, f"--impl={STUBS_FOLDER}"],
    "pytest test_mesh.py, written": [*MESH, f"--impl={REFERENCE}"],
}


def main() -> None:
    """Print a line for each."""
    os.environ["KERAS_BACKEND"] = "jax"
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for number in range(ROUNDS + 1):
        for name, arguments in COMMANDS.items():
            started = time.perf_counter()
            subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, check=False)
            # The first round reads from disk.
            if number:
                times[name].append(time.perf_counter() - started)
    for name, taken in times.items():
        print(f"{name:<34} {statistics.median(taken):.2f} s  ({min(taken):.2f} to {max(taken):.2f})")
    ratio = statistics.median(times["pytest test_mesh.py, written"]) / statistics.median(times["import keras"])
    print(f"{'written mesh / import keras':<34} {ratio:.2f}")
    with Runner() as runner:
        for exercise in ("mesh", "layout", "lora"):
            checks = [check for check in checks_of(exercise) if check.layer not in ("program", "tpu_compile")]
            rounds = []
            for number in range(ROUNDS + 1):
                started = time.perf_counter()
                # As `kit watch` does.
                runner.forget(REFERENCE)
                runner.begin((REFERENCE, check) for check in reversed(checks))
                assert all(runner.run(REFERENCE, check).passed for check in checks)
                if number:
                    rounds.append(time.perf_counter() - started)
            print(f"{f'after a save, {exercise}, {len(checks)} checks':<34} {statistics.median(rounds):.2f} s")


if __name__ == "__main__":
    main()
