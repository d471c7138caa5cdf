"""Kills runs at random moments, resumes them, and compares their losses with an uninterrupted run.

Every second run is killed while it writes a checkpoint. Takes about a quarter of an hour on 2
cores, two runs at a time. Usage: python benchmarks/kills.py [HOW_MANY]
"""

import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from runs import KIT, largest_difference, losses, only_run, print_rows

STEPS = 40
OPTIONS = ["--batches", str(STEPS), "--save-every", "2", "--sequence-length", "64", "--max-length", "16"]


def begin(runs: Path) -> subprocess.Popen:
    """Start a run."""
    return subprocess.Popen([*KIT, *OPTIONS, "--runs", str(runs)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def kill_somewhere(runs: Path, in_checkpoint: bool, step: int) -> str:
    """Start a run, kill it soon after ``step``, and return three cells of its row."""
    process = begin(runs)
    try:
        while not list(runs.glob("*/metrics.jsonl")):
            assert process.poll() is None, "the run ended before it was killed"
            time.sleep(0.01)
        run = only_run(runs)
        while len(losses_so_far := (run / "metrics.jsonl").read_text().splitlines()) < step:
            time.sleep(0.002)
        if in_checkpoint:
            while not list((run / "saves").glob(".unfinished-*")):
                assert process.poll() is None, "the run ended before it was killed"
        else:
            time.sleep(random.uniform(0, 0.3))
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    files = sorted(path.relative_to(run).as_posix() for path in (run / "saves").glob(".unfinished-*/**/*"))
    checkpoints = sorted(path.name for path in (run / "saves").glob("step-*"))
    written = ", ".join(name.split("/")[-1] for name in files) or "no file yet"
    moment = f"while writing a checkpoint: {written}" if in_checkpoint else "at any time"
    return f"{len(losses_so_far)} | {moment} | {', '.join(checkpoints) or 'none'}"


def one(number: int, expected: list[float], scratch: Path) -> str:
    """Kill and resume one run, and return its row of the table."""
    runs = scratch / f"killed-{number}"
    step = random.Random(number).randrange(1, STEPS - 2)
    where = kill_somewhere(runs, in_checkpoint=number % 2 == 1, step=step)
    run = only_run(runs)
    subprocess.run([*KIT, "--resume", str(run)], check=True, capture_output=True)
    found = losses(run)
    assert len(found) == len(expected) == STEPS
    assert (run / "run.json").is_file()
    difference = largest_difference(found, expected)
    shutil.rmtree(runs)
    return f"| {number} | {where} | {difference:.1e} |"


def main() -> None:
    """Print the table."""
    how_many = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    with tempfile.TemporaryDirectory(prefix="kills-") as name:
        scratch = Path(name)
        if begin(scratch / "uninterrupted").wait():
            raise SystemExit("The uninterrupted run failed: try `kit run`.")
        expected = losses(only_run(scratch / "uninterrupted"))
        print(
            "| run | step | killed | checkpoints at that time | relative difference of losses |\n|---|---|---|---|---|",
            flush=True,
        )
        print_rows(lambda number: one(number, expected, scratch), range(how_many))


if __name__ == "__main__":
    main()
