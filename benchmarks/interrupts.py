"""Presses Ctrl-C at random moments of runs on a real terminal, and resumes those that can be.

For each moment: before training, in it, and after it. Takes about a quarter of an hour on 2 cores,
two runs at a time. Usage: python benchmarks/interrupts.py [HOW_MANY] [FIRST]
"""

import os
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from runs import KIT, largest_difference, losses, only_run, print_rows, steps_done
from terminals import Terminal

STEPS = 24
OPTIONS = ["--batches", str(STEPS), "--save-every", "6", "--sequence-length", "64", "--max-length", "16"]
#: Two devices and little evidence, so that a try takes about half a minute.
OPTIONS += ["--devices", "2", "--evidence", "quick"]
CTRL_C = b"\x03"
STOPPED = 130


def reach(terminal: Terminal, runs: Path, moment: str, chance: random.Random) -> str:
    """Wait for a random moment of the run, and return its name."""
    if moment == "before training":
        terminal.read(chance.uniform(0.5, 8))
        return moment
    step = chance.randrange(1, STEPS - 2) if moment == "training" else STEPS
    while steps_done(runs) < step:
        if not terminal.read(0.01):
            raise SystemExit(f"The run ended before step {step}:\n{terminal.printed.decode()}")
    terminal.read(chance.uniform(0, 0.3) if moment == "training" else chance.uniform(0.3, 4))
    return moment


def one(number: int, moment: str, expected: list[float], scratch: Path) -> str:
    """Interrupt and resume one run, and return its row of the table."""
    chance = random.Random(number)
    runs = scratch / f"interrupted-{number}"
    terminal = Terminal([*KIT, *OPTIONS, "--runs", str(runs)])
    try:
        reach(terminal, runs, moment, chance)
        before = terminal.printed
        done = steps_done(runs)
        terminal.press(CTRL_C)
        pressed = time.monotonic()
        while terminal.read(0.1):
            if time.monotonic() - pressed > 60:
                raise SystemExit(f"Ctrl-C had no effect for 60 s: {number}, {moment}")
        seconds = time.monotonic() - pressed
        after = terminal.printed[len(before) :].decode(errors="replace")
    finally:
        terminal.close()
    assert terminal.returncode == STOPPED, (number, moment, terminal.returncode, after)
    assert "Traceback" not in after, after
    folders = list(runs.glob("*")) if runs.exists() else []
    if not folders:
        return f"| {number} | {moment} | {done or ''} | {seconds:.1f} | no folder | |"
    (run,) = folders
    checkpoint = max(run.glob("saves/step-*")).name
    printed = re.sub(r"\s+", "", after)
    assert re.sub(r"\s+", "", f"kit run --resume {run}") in printed, after
    subprocess.run([*KIT, "--resume", str(run)], check=True, capture_output=True)
    difference = largest_difference(losses(run), expected)
    return f"| {number} | {moment} | {done} | {seconds:.1f} | {checkpoint} | {difference:.1e} |"


def main() -> None:
    """Print the table."""
    how_many = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    with tempfile.TemporaryDirectory(prefix="interrupts-") as name:
        scratch = Path(name)
        whole = [*KIT, *OPTIONS, "--runs", str(scratch / "uninterrupted")]
        subprocess.run(whole, check=True, capture_output=True)
        expected = losses(only_run(scratch / "uninterrupted"))
        print("| try | Ctrl-C | steps done | seconds to the end | checkpoint | relative difference of losses |")
        print("|---|---|---|---|---|---|", flush=True)
        # Most tries are in training.
        moments = ("training", "before training", "training", "after training", "training")
        at_once = int(os.environ.get("AT_ONCE", "2"))
        print_rows(
            lambda number: one(number, moments[number % len(moments)], expected, scratch),
            range(first, first + how_many),
            at_once,
        )


if __name__ == "__main__":
    main()
