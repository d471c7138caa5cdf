"""Whether runs on a GPU compute the same, with and without `--deterministic`, and what it costs.

Two whole runs of the bundled model and one that is killed and resumed, each with and without the
option, in turn. The table has the first step whose loss differs, the largest relative difference,
and the time of a step. On the CPU (--platform cpu) all losses must be equal. What the option costs
for a large model is measured by `against_peft.py --modes step,deterministic`. Usage:

    python benchmarks/gpu_reproducibility.py [--platform gpu] [--batches 60]
"""

import argparse
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from runs import KIT, losses, only_run


def whole_run(runs: Path, options: list[str]) -> tuple[list[float], float]:
    """Losses and milliseconds per step of a run; its own message and exit code if it is refused."""
    finished = subprocess.run([*KIT, *options, "--runs", str(runs)], capture_output=True, text=True, check=False)
    if finished.returncode:
        print(finished.stderr.strip()[-2000:], file=sys.stderr)
        sys.exit(finished.returncode)
    run = only_run(runs)
    return losses(run), json.loads((run / "run.json").read_text())["training"]["milliseconds_per_step"]


def killed_run(runs: Path, options: list[str], platform: list[str], step: int) -> list[float]:
    """Losses of a run that is killed after about ``step`` steps, and resumed."""
    process = subprocess.Popen([*KIT, *options, "--runs", str(runs)], stdout=subprocess.DEVNULL)
    try:
        while not list(runs.glob("*/metrics.jsonl")) or len(losses(only_run(runs))) < step:
            assert process.poll() is None, "the run ended before it was killed"
            time.sleep(0.005)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    run = only_run(runs)
    subprocess.run([*KIT, "--resume", str(run), *platform], check=True, capture_output=True)
    return losses(run)


def row(name: str, found: list[float], expected: list[float]) -> str:
    """The comparison of two lists of losses, as cells."""
    assert len(found) == len(expected)
    differences = [abs(one - other) / abs(other) for one, other in zip(found, expected, strict=True)]
    first = next((str(step) for step, difference in enumerate(differences, 1) if difference), "none")
    return f"| {name} | {first} | {max(differences):.1e} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--platform", default="gpu", choices=("cpu", "gpu"))
    parser.add_argument("--batches", type=int, default=60)
    asked = parser.parse_args()
    platform = ["--platform", asked.platform, *(["--devices", "1"] if asked.platform == "cpu" else [])]
    options = [
        *platform,
        "--evidence",
        "quick",
        "--batches",
        str(asked.batches),
        "--save-every",
        "2",
        "--max-length",
        "16",
    ]
    rows, milliseconds = [], {}
    with tempfile.TemporaryDirectory() as scratch:
        times: dict[str, list[float]] = {"without": [], "with": []}
        first: dict[str, list[float]] = {}
        for turn in range(2):
            for name, extra in (("without", []), ("with", ["--deterministic"])):
                found, time_of_step = whole_run(Path(scratch) / f"{name}-{turn}", [*options, *extra])
                times[name].append(time_of_step)
                if turn:
                    rows.append(row(f"two runs, {name} `--deterministic`", found, first[name]))
                first.setdefault(name, found)
        for name, extra in (("without", []), ("with", ["--deterministic"])):
            found = killed_run(Path(scratch) / f"{name}-killed", [*options, *extra], platform, asked.batches // 2)
            rows.append(row(f"killed and resumed, {name} `--deterministic`", found, first[name]))
        milliseconds = {name: statistics.median(values) for name, values in times.items()}
    print("| compared | first step that differs | largest relative difference of losses |\n|---|---|---|")
    print("\n".join(rows))
    cost = milliseconds["with"] / milliseconds["without"]
    print(
        f"\n{milliseconds['without']:.2f} ms per step without, {milliseconds['with']:.2f} with the option: {cost:.2f} x"
    )


if __name__ == "__main__":
    main()
