"""Runs of the bundled model as a user starts them, for other benchmarks."""

import json
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

KIT = [sys.executable, "-c", "from kit.cli.main import main; main()", "run"]


def losses(run: Path) -> list[float]:
    """The loss of each step, from a run folder."""
    return [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def only_run(runs: Path) -> Path:
    """The one run folder in a folder."""
    (run,) = [path for path in runs.iterdir() if path.is_dir()]
    return run


def steps_done(runs: Path) -> int:
    """The steps of the one run in a folder; none before it has begun to train."""
    return sum(file.read_text().count("\n") for file in runs.glob("*/metrics.jsonl"))


def largest_difference(found: list[float], expected: list[float]) -> float:
    """The largest relative difference of two lists of losses."""
    return max(abs(a - b) / abs(b) for a, b in zip(found, expected, strict=True))


def print_rows(row: Callable[[int], str], numbers: Iterable[int], at_once: int = 2) -> None:
    """Print the row of each number, in their order, as soon as it is there."""
    with ThreadPoolExecutor(at_once) as pool:
        for line in pool.map(row, numbers):
            print(line, flush=True)
