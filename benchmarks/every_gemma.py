"""Which Gemma can be tuned on which TPU slice: the table in docs/planning.md.

LoRA of rank 4, float32 and bfloat16, 8 examples of 128 and of 1,024 tokens. A cell is one such
step, computed in up to two passes:

1. Two models with few blocks are compiled with `--effort quick`, and extrapolated: or all blocks,
   if few do not stand for all. Nothing is compiled where the weights alone do not fit, or where 128
   tokens already do not: such a cell has a lower bound of the peak.
2. If that peak is within a tenth of the usable memory, the whole step is compiled with full effort.

The mesh has the largest axis "model" that divides the devices and the query heads; the axis "batch"
has the rest.

Each finished pass is a line of every_gemma.jsonl: run the command again for the rest.
Usage: python benchmarks/every_gemma.py [--minutes N] [--processes N] [--table] [MODEL...]
"""

import argparse
import contextlib
import io
import itertools
import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from kit.models.architectures import ARCHITECTURES
from kit.models.blocks import few_blocks
from kit.runtime.platform import prepare_environment
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
#: A peak this near to the usable memory is compiled with all blocks and full effort.
NEAR = 0.1
#: Cells of one process, which saves imports. More of them would keep too much memory.
CELLS_OF_A_PROCESS = 6


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
    """What the file has: of each cell its last line."""
    lines = RESULTS.read_text(encoding="utf-8").splitlines() if RESULTS.is_file() else []
    found = [json.loads(line) for line in lines]
    return {Cell(one["model"], one["slice"], one["dtype"], one["length"]): one for one in found}


def missing(models: list[str]) -> list[tuple[Cell, bool]]:
    """The cells to compute, and whether the whole step: first those without any line."""
    found = finished()
    first = [(cell, False) for cell in cells(models) if cell not in found]
    second = [(cell, True) for cell in cells(models) if cell in found and needs_whole_step(found[cell])]
    return first + second


def needs_whole_step(line: dict[str, Any]) -> bool:
    """Whether an estimate is too near to the usable memory to be trusted."""
    return line["effort"] == "quick" and bool(line["compiled"]) and abs(line["peak"] / line["usable"] - 1) <= NEAR


def plan(cell: Cell, layers: str, effort: str) -> dict[str, Any]:
    """The JSON of `kit plan` for a cell. All cells of a process have one number of devices."""
    from kit.cli.plan import command

    options = {
        "--topology": cell.slice,
        "--mesh": f"{cell.mesh[0]}x{cell.mesh[1]}",
        "--dtype": cell.dtype,
        "--batch-size": BATCH_SIZE,
        "--sequence-length": cell.length,
        "--layers": layers,
        "--effort": effort,
    }
    words = [str(word) for pair in options.items() for word in pair]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        command.main([cell.model, *words, "--json"], standalone_mode=False)
    return json.loads(printed.getvalue())


def compute_cell(cell: Cell, whole: bool) -> dict[str, Any]:
    """What a cell's line has."""
    started, cpu = time.perf_counter(), time.process_time()
    line = {**asdict(cell), "mesh": f"{cell.mesh[0]}x{cell.mesh[1]}", "effort": "full" if whole else "quick"}
    usable, at_least = lower_bound(cell)
    if at_least > usable:
        line |= {"fits": False, "compiled": [], "at_least": at_least, "usable": usable}
    else:
        few = few_blocks(ARCHITECTURES[cell.model])
        made = plan(cell, f"{few[0]},{few[1]}" if few and not whole else "all", line["effort"])
        device = made["per_device"]
        line |= {"fits": made["fits"], "compiled": made["layers"]["compiled"], "peak": device["peak_bytes"]}
        line |= {"arguments": device["arguments_bytes"], "temporaries": device["temporary_bytes"], "usable": usable}
    line |= {"seconds": round(time.perf_counter() - started, 1), "cpu_seconds": round(time.process_time() - cpu, 1)}
    return line


def lower_bound(cell: Cell) -> tuple[int, int]:
    """Usable bytes of a device, and those it needs at least: weights, or a shorter peak."""
    topology = find_topology(cell.slice)
    prepare_environment("cpu", topology.devices)
    from kit.models.weightless import weightless_variables
    from kit.tpu.compiler import usable_nbytes

    weights = sum(one.nbytes for one in weightless_variables(ARCHITECTURES[cell.model], dtype=cell.dtype))
    peaks = [
        line.get("peak", 0)
        for other, line in finished().items()
        if other.length < cell.length and replace(other, length=cell.length) == cell
    ]
    return usable_nbytes(topology), max([weights // topology.devices, *peaks])


def work(todo: list[tuple[dict[str, Any], bool]]) -> None:
    """Compute cells with one number of devices, and write each as soon as it is done."""
    for fields, whole in todo:
        line = json.dumps(compute_cell(Cell(**fields), whole))
        with RESULTS.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def main() -> None:
    """Compute what is missing, then write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="*", default=list(ARCHITECTURES), metavar="MODEL")
    parser.add_argument("--minutes", type=float, default=math.inf, help="start no process after this time")
    parser.add_argument("--processes", type=int, default=1, help="how many compile at a time")
    parser.add_argument("--table", action="store_true", help="compile nothing, only write the table")
    parser.add_argument("--cells", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if unknown := [model for model in options.models if model not in ARCHITECTURES]:
        parser.error(f"{unknown[0]}: choose from {', '.join(ARCHITECTURES)}")
    if options.cells:
        work(json.loads(options.cells))
        return
    end = time.monotonic() + 60 * options.minutes
    # The second pass is for what the first found.
    for whole in () if options.table else (False, True):
        compute([one for one in missing(options.models) if one[1] == whole], end, options.processes)
    before, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(BEGIN)
    if rest:
        after = rest.partition(END)[2]
        DOCUMENT.write_text(f"{before}{BEGIN}\n\n{table()}\n{END}{after}", encoding="utf-8")
    print(table())


def compute(todo: list[tuple[Cell, bool]], end: float, processes: int) -> None:
    """Compute these cells in processes of their own, until a time of ``time.monotonic``.

    The compiler keeps memory, and a process has one number of devices.
    """
    groups: list[list[tuple[Cell, bool]]] = []
    for _, same in itertools.groupby(todo, lambda one: find_topology(one[0].slice).devices):
        part = list(same)
        groups += [part[at : at + CELLS_OF_A_PROCESS] for at in range(0, len(part), CELLS_OF_A_PROCESS)]

    def start(number: int, group: list[tuple[Cell, bool]]) -> None:
        if time.monotonic() > end:
            return
        print(f"process {number} of {len(groups)}: from {group[0][0]}", flush=True)
        words = [sys.executable, __file__, "--cells", json.dumps([(asdict(cell), whole) for cell, whole in group])]
        ended = subprocess.run(words, capture_output=True, text=True, check=False)
        if ended.returncode:
            print(f"    process {number} failed: {ended.stderr.strip().splitlines()[-1]}", flush=True)

    with ThreadPoolExecutor(processes) as pool:
        list(pool.map(start, range(1, len(groups) + 1), groups))


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
    """A cell: "~" if it is an estimate, bold if it does not fit, "?" if it is not computed."""
    if cell is None:
        return "?"
    if not cell["compiled"]:
        return f"**> {cell['at_least'] / 1e9:.1f}**"
    peak = f"{'~' if cell['effort'] == 'quick' else ''}{cell['peak'] / 1e9:.2f}"
    return peak if cell["fits"] else f"**{peak}**"


if __name__ == "__main__":
    main()
