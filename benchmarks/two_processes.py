"""Compares two processes of four simulated devices with one process of eight.

It compares their losses, and measures how soon one process ends when the other dies. The one
process is connected by Keras like the two, so that gloo adds for it too; it also runs without the
variables, where XLA adds in memory. Runs of eight steps of the bundled model, on three meshes.
Takes five minutes on 2 cores. Usage: python benchmarks/two_processes.py
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

KIT = [sys.executable, "-c", "from kit.cli.main import main; main()", "run"]
OPTIONS = ["--batches", "8", "--sequence-length", "64", "--max-length", "16", "--save-every", "1"]
OUTPUT: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}


def begin(runs: Path, mesh: str, count: int) -> list[subprocess.Popen]:
    """Start the processes of a run; for 0, one process without Keras' variables."""
    if not count:
        return [subprocess.Popen([*KIT, *OPTIONS, "--mesh", mesh, "--runs", str(runs)], **OUTPUT)]
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    shared = {"KERAS_DISTRIBUTION_JOB_ADDRESSES": address, "KERAS_DISTRIBUTION_NUM_PROCESSES": str(count)}
    return [
        subprocess.Popen(
            [*KIT, *OPTIONS, "--mesh", mesh, "--runs", str(runs)],
            env={**os.environ, **shared, "KERAS_DISTRIBUTION_PROCESS_ID": str(number)},
            **OUTPUT,
        )
        for number in range(count)
    ]


def losses(runs: Path, mesh: str, count: int) -> list[float]:
    """The loss of each step."""
    processes = begin(runs, mesh, count)
    printed = [process.communicate()[1] for process in processes]
    if any(process.returncode for process in processes):
        ends = [process.returncode for process in processes]
        raise SystemExit(f"{mesh}, {count} processes ended with {ends}:\n" + "\n----\n".join(printed))
    (file,) = runs.glob("*/metrics.jsonl")
    return [json.loads(line)["loss"] for line in file.read_text().splitlines()]


def main() -> None:
    """Print the table, then how a process ends when the other is killed."""
    with tempfile.TemporaryDirectory(prefix="two-") as name:
        scratch = Path(name)
        print(
            "| mesh | first loss | last loss | relative difference | "
            "relative difference to one process that does not set the environment variables "
            "|\n|---|---|---|---|---|",
            flush=True,
        )
        for mesh in ("1x8", "2x4", "4x2"):
            usual, one, two = (losses(scratch / f"{mesh}-{count}", mesh, count) for count in (0, 1, 2))
            assert len(usual) == len(one) == len(two) == 8
            differences = [max(abs(a - b) / abs(a) for a, b in zip(other, two, strict=True)) for other in (one, usual)]
            print(
                f"| {mesh} | {two[0]:.6f} | {two[-1]:.6f} | {differences[0]:.1e} | {differences[1]:.1e} |", flush=True
            )
        for dies in (1, 0):
            runs = scratch / f"dies-{dies}"
            processes = begin(runs, "2x4", 2)
            while not list(runs.glob("*/saves/step-*")):
                time.sleep(0.01)
            processes[dies].send_signal(signal.SIGKILL)
            died = time.perf_counter()
            _, printed = processes[1 - dies].communicate()
            seconds = time.perf_counter() - died
            print(
                f"\nprocess {dies} killed; {seconds:.2f} s later the other ended with "
                f"{processes[1 - dies].returncode}: "
                f"{printed.strip().splitlines()[-1]}"
            )


if __name__ == "__main__":
    main()
