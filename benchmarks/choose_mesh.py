"""What a step sends and holds on eight chips, by mesh and layout: a table of the lessons.

bfloat16, LoRA of rank 4, 32 x 128 tokens, extrapolated from compiles of 2 and 4 decoder blocks.
Takes ten minutes on 2 cores. Usage: python benchmarks/choose_mesh.py [PRESET [TOPOLOGY]]
"""

import json
import subprocess
import sys

CASES = (
    ("1x8", "tensor"),
    ("2x4", "tensor"),
    ("4x2", "tensor"),
    ("8x1", "tensor"),
    ("2x4", "fsdp"),
    ("4x2", "fsdp"),
    ("8x1", "fsdp"),
)
OPTIONS = ["--dtype", "bfloat16", "--batch-size", "32", "--sequence-length", "128", "--layers", "2,4", "--json"]


def row(preset: str, topology: str, mesh: str, layout: str) -> str:
    """A row of the table."""
    command = [sys.executable, "-c", "from kit.cli.main import main; main()", "plan", preset, "--topology", topology]
    finished = subprocess.run(
        [*command, "--mesh", mesh, "--layout", layout, *OPTIONS], capture_output=True, text=True, check=False
    )
    if finished.returncode:
        raise SystemExit(f"{mesh}, {layout}: {finished.stderr.strip().splitlines()[-1]}")
    plan = json.loads(finished.stdout)
    sizes = plan["per_device"]
    arguments = f"{sizes['arguments_bytes'] / 1e9:.2f} GB"
    if not plan["fits"]:
        return f"| {mesh} | {layout} | {arguments} | | does not fit | |"
    collectives = ", ".join(f"{found['count']} {kind}" for kind, found in plan["collectives"].items())
    memory = f"{arguments} | {sizes['temporary_bytes'] / 1e9:.2f} GB"
    return f"| {mesh} | {layout} | {memory} | {1000 * plan['roofline_seconds']['links']:.0f} ms | {collectives} |"


def main() -> None:
    """Print the table."""
    preset, topology = (*sys.argv[1:], *("gemma3_1b", "v5e-8")[len(sys.argv) - 1 :])
    print(f"{preset} on {topology}:\n")
    print("| mesh | layout | arguments | temporaries | links | collectives |\n|---|---|---|---|---|---|", flush=True)
    for mesh, layout in CASES:
        print(row(preset, topology, mesh, layout), flush=True)


if __name__ == "__main__":
    main()
