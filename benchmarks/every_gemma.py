"""Which Gemma can be tuned on which TPU slice: the table in docs/planning.md.

LoRA of rank 4, float32 and bfloat16, 8 examples of 128 and of 1,024 tokens. A cell is one such
step. Where the arguments alone do not fit, nothing is compiled. Otherwise two models with few
blocks are compiled and extrapolated, and the whole step as well if the peak is within a tenth of
the usable memory, or if few blocks do not stand for all.

The mesh has the largest axis "model" that divides the devices and the query heads; the axis "batch"
has the rest.

Each finished cell is a line of every_gemma.jsonl: run the command again for the rest. It takes
hours on 2 cores. Usage: python benchmarks/every_gemma.py [--minutes N] [--table] [MODEL...]
"""

import argparse
import contextlib
import io
import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kit.models.architectures import ARCHITECTURES
from kit.models.blocks import few_blocks
from kit.tpu.topologies import find_topology

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).with_suffix(".jsonl")
DOCUMENT = ROOT / "docs" / "planning.md"
BEGIN, END = "<!-- python benchmarks/every_gemma.py -->", "<!-- end -->"

BATCH_SIZE = 8
#: In the order in which cells are compiled: what most people have, first.
SLICES = ("v5e-8", "v5e-1", "v6e-1", "v5e-16", "v6e-8", "v6e-16")
DTYPES = ("bfloat16", "float32")
LENGTHS = (128, 1024)
#: In the order of the table.
COLUMNS = ("v5e-1", "v6e-1", "v5e-8", "v6e-8", "v5e-16", "v6e-16")
MODELS_FIRST = ("gemma3_1b", "gemma3_270m", "gemma3_4b_text", "gemma4_26b_a4b", "gemma4_4b", "gemma4_2b")
#: A peak this near to the usable memory is compiled with all blocks.
NEAR = 0.1


@dataclass(frozen=True)
class Cell:
    """A step of the table."""

    model: str
    slice: str
    dtype: str
    length: int

    @property
    def mesh(self) -> tuple[int, int]:
        """Sizes of the axes "batch" and "model"."""
        devices, heads = find_topology(self.slice).devices, ARCHITECTURES[self.model]["config"]["num_query_heads"]
        model = math.gcd(devices, heads)
        return devices // model, model


def cells(models: list[str]) -> Iterator[Cell]:
    """All cells, the most useful first."""
    ordered = [*(model for model in MODELS_FIRST if model in models)]
    ordered += [model for model in models if model not in ordered]
    for dtype in DTYPES:
        for slice_name in SLICES:
            for model in ordered:
                for length in LENGTHS:
                    yield Cell(model, slice_name, dtype, length)


def finished() -> dict[Cell, dict[str, Any]]:
    """What the file has."""
    lines = RESULTS.read_text(encoding="utf-8").splitlines() if RESULTS.is_file() else []
    found = [json.loads(line) for line in lines]
    return {Cell(one["model"], one["slice"], one["dtype"], one["length"]): one for one in found}


def plan(cell: Cell, layers: str) -> dict[str, Any]:
    """The JSON of `kit plan` for a cell. All cells of a process have one number of devices."""
    from kit.cli.plan import command

    options = {
        "--topology": cell.slice,
        "--mesh": f"{cell.mesh[0]}x{cell.mesh[1]}",
        "--dtype": cell.dtype,
        "--batch-size": BATCH_SIZE,
        "--sequence-length": cell.length,
        "--layers": layers,
        "--effort": "full",
    }
    words = [str(word) for pair in options.items() for word in pair]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        command.main([cell.model, *words, "--json"], standalone_mode=False)
    return json.loads(printed.getvalue())


def compile_cell(cell: Cell) -> dict[str, Any]:
    """What a cell's line has."""
    started, cpu = time.perf_counter(), time.process_time()
    few, made = few_blocks(ARCHITECTURES[cell.model]), None
    if few and not arguments_alone_are_too_much(cell):
        made = plan(cell, f"{few[0]},{few[1]}")
        device = made["per_device"]
        share = device["peak_bytes"] / device["usable_bytes"]
        if abs(share - 1) <= NEAR or (not made["fits"] and device["flops"] is None):
            made = None
    made = made or plan(cell, "all")
    device = made["per_device"]
    return {
        **asdict(cell),
        "mesh": f"{cell.mesh[0]}x{cell.mesh[1]}",
        "fits": made["fits"],
        "compiled": made["layers"]["compiled"],
        "peak": device["peak_bytes"],
        "arguments": device["arguments_bytes"],
        "temporaries": device["temporary_bytes"],
        "usable": device["usable_bytes"],
        "seconds": round(time.perf_counter() - started, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
    }


def arguments_alone_are_too_much(cell: Cell) -> bool:
    """Whether all devices together are too small for the weights, so that no compile is needed."""
    from kit.runtime.platform import prepare_environment

    topology = find_topology(cell.slice)
    prepare_environment("cpu", topology.devices)
    from kit.models.weightless import weightless_variables
    from kit.tpu.compiler import usable_nbytes

    weights = sum(one.nbytes for one in weightless_variables(ARCHITECTURES[cell.model], dtype=cell.dtype))
    return weights > topology.devices * usable_nbytes(topology)


def work(todo: list[Cell]) -> None:
    """Compile cells with one number of devices, and write each as soon as it is done."""
    for cell in todo:
        line = json.dumps(compile_cell(cell))
        with RESULTS.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def main() -> None:
    """Compile what is missing, then write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="*", default=list(ARCHITECTURES), metavar="MODEL")
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin no cell after this time")
    parser.add_argument("--table", action="store_true", help="compile nothing, only write the table")
    parser.add_argument("--cells", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if unknown := [model for model in options.models if model not in ARCHITECTURES]:
        parser.error(f"{unknown[0]}: choose from {', '.join(ARCHITECTURES)}")
    if options.cells:
        work([Cell(**one) for one in json.loads(options.cells)])
        return
    started = time.perf_counter()
    todo = [] if options.table else [cell for cell in cells(options.models) if cell not in finished()]
    for number, cell in enumerate(todo, 1):
        if time.perf_counter() - started > 60 * options.minutes:
            break
        print(f"{number} of {len(todo)}: {cell}", flush=True)
        # A process of its own: the compiler keeps memory, and a process has one number of devices.
        command = [sys.executable, __file__, "--cells", json.dumps([asdict(cell)])]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if ended.returncode:
            print(f"    failed: {ended.stderr.strip().splitlines()[-1]}", flush=True)
    before, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(BEGIN)
    if rest:
        after = rest.partition(END)[2]
        DOCUMENT.write_text(f"{before}{BEGIN}\n\n{table()}\n{END}{after}", encoding="utf-8")
    print(table())


def table() -> str:
    """The table in Markdown."""
    found = finished()
    lines = ["| peak, GB: 128 / 1,024 tokens | " + " | ".join(COLUMNS) + " |", "|---|" + "---|" * len(COLUMNS)]
    for model in ARCHITECTURES:
        for dtype in DTYPES:
            shown = [
                " / ".join(_shown(found.get(Cell(model, column, dtype, length))) for length in LENGTHS)
                for column in COLUMNS
            ]
            if any(cell != "? / ?" for cell in shown):
                lines.append(f"| {model}, {dtype} | " + " | ".join(shown) + " |")
    total = len(list(cells(list(ARCHITECTURES))))
    return "\n".join(lines) + f"\n\nComputed so far: {len(found)} of {total} cells.\n"


def _shown(cell: dict[str, Any] | None) -> str:
    """A cell: "~" if it is extrapolated, bold if it does not fit, "?" if it is not computed."""
    if cell is None:
        return "?"
    if not cell["compiled"]:
        return f"**> {cell['arguments'] / 1e9:.1f}**"
    peak = f"{'~' if len(cell['compiled']) > 1 else ''}{cell['peak'] / 1e9:.2f}"
    return peak if cell["fits"] else f"**{peak}**"


if __name__ == "__main__":
    main()
