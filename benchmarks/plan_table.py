"""Which model's training step fits which generation of TPU: a table in docs/planning.md.

LoRA of rank 4, float32, batch 2 x 128, mesh 1 x all devices. Each cell is extrapolated linearly
from compiles of 2 and 4 decoder blocks; four cells are compiled with all blocks as well. Takes half
an hour on 2 cores. Usage: python benchmarks/plan_table.py [PRESET...]
"""

import json
import subprocess
import sys
import time

PRESETS = (
    *("gemma_2b_en", "gemma_7b_en", "gemma2_2b_en", "gemma2_9b_en"),
    *("gemma3_270m", "gemma3_1b", "gemma3_4b_text"),
)
TOPOLOGIES = ("v2-8", "v3-8", "v4-8", "v5e-4", "v5e-8", "v5p-8", "v6e-8")
#: Cells that are compiled with all blocks as well: the largest, one with grouped attention, one on
#: few large devices, and one that leaves the chip nearly empty.
IN_FULL = (("gemma_7b_en", "v3-8"), ("gemma2_2b_en", "v5e-4"), ("gemma2_9b_en", "v4-8"), ("gemma3_1b", "v6e-8"))


def plan(preset: str, topology: str, layers: str) -> dict:
    """The JSON of `kit plan`."""
    command = [sys.executable, "-c", "from kit.cli.main import main; main()", "plan", preset, "--topology", topology]
    finished = subprocess.run([*command, "--layers", layers, "--json"], capture_output=True, text=True, check=False)
    if finished.returncode:
        raise SystemExit(f"{preset} on {topology}: {finished.stderr.strip().splitlines()[-1]}")
    return json.loads(finished.stdout)


def main() -> None:
    """Print the table, then the comparison of cells."""
    started = time.perf_counter()
    presets = sys.argv[1:] or PRESETS
    found = {}
    print("| peak on one device | " + " | ".join(TOPOLOGIES) + " |", flush=True)
    print("|---|" + "---|" * len(TOPOLOGIES))
    for preset in presets:
        cells = []
        for topology in TOPOLOGIES:
            found[preset, topology] = made = plan(preset, topology, "2,4")["per_device"]
            fits = made["peak_bytes"] <= made["usable_bytes"]
            peak = f"{made['peak_bytes'] / 1e9:.2f} GB"
            cells.append(peak if fits else f"**{peak}**")
        print(f"| {preset} | " + " | ".join(cells) + " |", flush=True)
    usable = {topology: made["usable_bytes"] for (_, topology), made in found.items()}
    print("| usable | " + " | ".join(f"{usable[topology] / 1e9:.2f} GB" for topology in TOPOLOGIES) + " |")
    print()
    for preset, topology in IN_FULL:
        if (preset, topology) in found:
            few, whole = (
                found[preset, topology]["peak_bytes"],
                plan(preset, topology, "all")["per_device"]["peak_bytes"],
            )
            print(
                f"{preset} on {topology}: {few / 1e9:.3f} GB from few blocks, {whole / 1e9:.3f} from all, "
                f"{abs(few - whole) / whole:.2%} difference"
            )
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
