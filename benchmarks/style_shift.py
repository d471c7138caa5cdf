"""The style shift and its control over several seeds: the figures of docs/evidence.md.

Each run is a process of its own, as a user starts it. Prints a Markdown table.
Usage: python benchmarks/style_shift.py [SEEDS]
"""

import json
import subprocess
import sys
import tempfile
from typing import Any


def run(seed: int, *options: str) -> dict[str, Any]:
    """Return ``run.json`` of a run with this seed."""
    command = [
        sys.executable,
        "-c",
        "from kit.cli.main import main; main()",
        "run",
        "--json",
        "--seed",
        str(seed),
        *options,
    ]
    with tempfile.TemporaryDirectory() as folder:
        finished = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, check=True)
    result: dict[str, Any] = json.loads(finished.stdout)
    return result


def row(seed: int, kind: str, result: dict[str, Any]) -> str:
    """One row of the table."""
    before, after = result["style"]["before"], result["style"]["after"]
    cells = [
        seed,
        kind,
        f"{before['share_of_lists']:.0%}",
        f"{after['share_of_lists']:.0%}",
        f"{after['share_of_reviews']:.0%}",
        f"{result['style']['share_without_copies']:.0%}",
        f"{result['style']['shift']['reviews']:+.4f}",
        f"{result['style']['shift']['lists']:+.4f}",
        f"{result['seconds']:.0f}",
    ]
    return "| " + " | ".join(map(str, cells)) + " |"


def main() -> None:
    """Print the table for the given number of seeds, by default five."""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    print(
        "| seed | run | lists before | lists after | reviews after | no copied 8-gram "
        "| held-out reviews | new lists | s |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for seed in range(seeds):
        print(row(seed, "reviews", run(seed)), flush=True)
        print(row(seed, "control", run(seed, "--control")), flush=True)


if __name__ == "__main__":
    main()
