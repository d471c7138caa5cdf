"""Fills a small disk at random moments of runs, frees it again, and resumes what can be resumed.

The disk is a tmpfs of its own for each run, so this needs Linux and root. Takes about a quarter of
an hour on 2 cores, two runs at a time. Usage: python benchmarks/full_disk.py [HOW_MANY] [FIRST]
"""

import contextlib
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from runs import KIT, largest_difference, losses, only_run, print_rows, steps_done

STEPS = 24
OPTIONS = ["--batches", str(STEPS), "--save-every", "4", "--sequence-length", "64", "--max-length", "16"]
#: Two devices and little evidence, so that a try takes about half a minute.
OPTIONS += ["--devices", "2", "--evidence", "quick"]
#: More than a run needs.
SIZE = 20_000_000


def wait_for_step(process: subprocess.Popen, disk: Path, step: int, seconds: float) -> None:
    """Wait until a run has done this many steps, has ended, or the time is over."""
    until = time.monotonic() + seconds
    while process.poll() is None and steps_done(disk) < step and time.monotonic() < until:
        time.sleep(0.005)


def fill(disk: Path, left: int) -> None:
    """Leave this much space."""
    with (disk / "filler").open("wb") as filler:
        while (size := shutil.disk_usage(disk).free - left) > 0:
            # Fails if the run has written something since.
            with contextlib.suppress(OSError):
                os.posix_fallocate(filler.fileno(), 0, size)
                break


def one(number: int, expected: list[float], disk: Path) -> str:
    """Fill the disk during one run, and return its row of the table."""
    chance = random.Random(number)
    step, left = chance.randrange(STEPS), chance.choice([0, 4_096, 20_000, 100_000, 300_000])
    freed = STEPS if number % 2 else chance.randrange(step, STEPS)  # every second disk stays full
    command = [*KIT, *OPTIONS, "--runs", str(disk)]
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        wait_for_step(process, disk, max(1, step), 600)
        fill(disk, left)
        if freed < STEPS:
            # A full disk may take no more lines, so this wait has a short end.
            wait_for_step(process, disk, freed, 5)
            (disk / "filler").unlink()
        process.wait()
        output.seek(0)
        printed = output.read()
    (disk / "filler").unlink(missing_ok=True)
    assert process.returncode in (0, 2), (number, process.returncode, printed)
    assert "Traceback" not in printed, printed
    warnings = sum("warning: cannot write" in line for line in printed.splitlines())
    if not (found := [path for path in disk.iterdir() if path.is_dir()]):
        return f"| {number} | {step} | {left:,} | | | no folder | | |"
    (run,) = found
    checkpoints = ", ".join(sorted(path.name.removeprefix("step-") for path in run.glob("saves/step-*")))
    end = "finished"
    if process.returncode:
        sentence = re.search(r"cannot write to it \(.*?\)(; it has no checkpoint)?", " ".join(printed.split()))
        assert sentence, printed
        end = sentence[0]
    if process.returncode and checkpoints:
        subprocess.run([*KIT, "--resume", str(run)], check=True, capture_output=True)
    difference = "no checkpoint"
    if (run / "run.json").is_file():
        difference = f"{largest_difference(losses(run), expected):.1e}"
    frees = f"after step {freed}" if freed < STEPS else "after the run"
    return f"| {number} | {step} | {left:,} | {frees} | {warnings} | {end} | {checkpoints} | {difference} |"


def on_a_disk(number: int, expected: list[float], scratch: Path) -> str:
    """Run one try on a small disk of its own."""
    disk = scratch / f"disk-{number}"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(disk)], check=True)
    try:
        return one(number, expected, disk)
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def main() -> None:
    """Print the table."""
    how_many = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    with tempfile.TemporaryDirectory(prefix="full-disk-") as name:
        scratch = Path(name)
        whole = [*KIT, *OPTIONS, "--runs", str(scratch / "uninterrupted")]
        subprocess.run(whole, check=True, capture_output=True)
        expected = losses(only_run(scratch / "uninterrupted"))
        print("| try | full from step | bytes left | free again | warnings | end | checkpoints | difference |")
        print("|---|---|---|---|---|---|---|---|", flush=True)
        at_once = int(os.environ.get("AT_ONCE", "2"))
        print_rows(lambda number: on_a_disk(number, expected, scratch), range(first, first + how_many), at_once)


if __name__ == "__main__":
    main()
