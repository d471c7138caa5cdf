"""Fine-tuning steps of this kit compared with transformers and PEFT, on one device.

Both train LoRA of rank 4 on query and value of a Gemma with random weights, with AdamW, batches of
the same size, and the loss read after each step. Measured are the kit's `fit` with what `kit run`
adds to it, its bare compiled step, PEFT eager (sdpa attention), and PEFT with `torch.compile`.

On the CPU all run at the same time and take turns of a few steps, so that other work of the machine
has less effect; --cpus 1 also keeps threads from waiting for each other. On a GPU, where they may
not fit together, each has the device for itself, and the rounds repeat them all. Torch may be
installed in another environment: give its Python with --torch-python. Usage:

    python benchmarks/against_peft.py
    python benchmarks/against_peft.py --platform gpu --dtype bfloat16 --shapes 7b-8x512,7b-2x128
"""

import argparse
import json
import os
import queue
import statistics
import subprocess
import sys
import threading
from pathlib import Path

FOLDER = Path(__file__).parent
#: Sizes as in KerasHub, except that `intermediate_dim` is the width of each gate; batch, length.
GEMMA_7B = {
    "vocabulary_size": 256000,
    "num_layers": 28,
    "num_query_heads": 16,
    "num_key_value_heads": 16,
    "hidden_dim": 3072,
    "intermediate_dim": 24576,
    "head_dim": 256,
}
GEMMA_2B = GEMMA_7B | {
    "num_layers": 18,
    "num_query_heads": 8,
    "num_key_value_heads": 1,
    "hidden_dim": 2048,
    "intermediate_dim": 16384,
}
BUNDLED = {
    "vocabulary_size": 2048,
    "num_layers": 4,
    "num_query_heads": 8,
    "num_key_value_heads": 8,
    "hidden_dim": 128,
    "intermediate_dim": 512,
    "head_dim": 16,
}
GEMMA_50M = BUNDLED | {
    "vocabulary_size": 32768,
    "num_layers": 8,
    "hidden_dim": 512,
    "intermediate_dim": 2048,
    "head_dim": 64,
}
SHAPES = {
    "bundled": (BUNDLED, 8, 128),
    "50m": (GEMMA_50M, 4, 128),
    "2b-8x512": (GEMMA_2B, 8, 512),
    "7b-8x512": (GEMMA_7B, 8, 512),
    "7b-2x128": (GEMMA_7B, 2, 128),
}
#: What is measured. The kit's workers run in this Python, the others in that of --torch-python.
NAMES = {
    "fit": "kit, `fit`",
    "step": "kit, bare step",
    "deterministic": "kit, bare step, `--deterministic`",
    "eager": "PEFT, eager",
    "compiled": "PEFT, compiled",
}
KIT_MODES = ("fit", "step", "deterministic")


class WorkerError(Exception):
    """A worker has ended, or takes too long: the message says which."""


class Worker:
    """A process that trains some steps at a time and reports their seconds."""

    def __init__(self, python: str, script: str, job: dict, limit: float) -> None:
        """Start it; it builds its model. ``limit`` is in seconds, for each of its answers."""
        self._script, self._limit = script, limit
        command = [python, str(FOLDER / script), json.dumps(job)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        #: What it is: device, versions, parameters; later also its peak of memory.
        self.report = self._answer()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            # Libraries print to standard output too.
            if line.startswith("{"):
                self._lines.put(line)
        self._lines.put(None)

    def _answer(self) -> dict:
        try:
            line = self._lines.get(timeout=self._limit)
        except queue.Empty:
            raise WorkerError(f"no answer within {self._limit:.0f} s") from None
        if line is None:
            raise WorkerError(f"{self._script} ended with exit code {self._process.wait()}")
        return json.loads(line)

    def turn(self, steps: int) -> tuple[float, float]:
        """Train some steps: the medians of their seconds and of their CPU seconds."""
        assert self._process.stdin
        print(steps, file=self._process.stdin, flush=True)
        self.report |= self._answer()
        return statistics.median(self.report.pop("seconds")), statistics.median(self.report.pop("cpu_seconds"))

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()


def start_worker(mode: str, shape: str, options: argparse.Namespace) -> Worker:
    """Start the worker of a mode, and let it compile its step."""
    sizes, batch, length = SHAPES[shape]
    job = {"mode": mode, "sizes": sizes, "batch": batch, "length": length}
    job |= {"dtype": options.dtype, "platform": options.platform}
    kit = mode in KIT_MODES
    script, python = ("kit_steps.py", sys.executable) if kit else ("peft_steps.py", options.torch_python)
    worker = Worker(python, script, job, options.limit)
    try:
        worker.turn(2)
    except WorkerError:
        worker.end()
        raise
    return worker


def measure(shape: str, options: argparse.Namespace) -> tuple[dict[str, list[tuple[float, float]]], dict[str, dict]]:
    """Seconds and CPU seconds per step in each turn, and what the workers reported, by mode."""
    together = options.platform == "cpu"
    turns: dict[str, list[tuple[float, float]]] = {mode: [] for mode in options.modes}
    reports: dict[str, dict] = {}
    workers: dict[str, Worker] = {}
    try:
        for turn in range(options.rounds):
            for mode in options.modes:
                if "failed" in reports.get(mode, {}):
                    continue
                progress = f"{shape}, turn {turn + 1} of {options.rounds}: {NAMES[mode]}"
                print(f"{progress:70}", end="\r", file=sys.stderr, flush=True)
                try:
                    if mode not in workers:
                        workers[mode] = start_worker(mode, shape, options)
                    turns[mode].append(workers[mode].turn(options.steps))
                    reports[mode] = workers[mode].report
                except WorkerError as error:
                    reports[mode] = {"failed": str(error)}
                if not together and mode in workers:
                    workers.pop(mode).end()
    finally:
        print(" " * 70, end="\r", file=sys.stderr, flush=True)
        for worker in workers.values():
            worker.end()
    return turns, reports


def print_table(shape: str, turns: dict[str, list[tuple[float, float]]], reports: dict[str, dict]) -> None:
    """One row per mode; the speeds are medians of the ratios of the same turn."""
    _, batch, length = SHAPES[shape]
    print(f"\n{shape}: batches of {batch} x {length} tokens\n")
    print("| | ms per step | tokens per second | speed | CPU ms per step | speed by CPU time | peak memory | trained |")
    print("|---|---|---|---|---|---|---|---|")
    for mode, times in turns.items():
        report = reports[mode]
        if "failed" in report:
            print(f"| {NAMES[mode]} | not measured: {report['failed']} | | | | | | |")
            continue
        cells = []
        for column in (0, 1):
            values = [time[column] for time in times]
            ratios = [theirs[column] / own for own, theirs in zip(values, turns.get("eager", []), strict=False)]
            median = statistics.median(values)
            cells += [f"{1000 * median:.1f}", *([f"{batch * length / median:,.0f}"] if column == 0 else [])]
            cells.append(f"{statistics.median(ratios):.2f}" if ratios else "")
        cells += [f"{report['peak_bytes'] / 1e9:.2f} GB", f"{report['trained']:,}"]
        print(f"| {NAMES[mode]} | {' | '.join(cells)} |", flush=True)


def missing_packages(python: str) -> str:
    """What this Python lacks for PEFT's side; "" if nothing."""
    code = (
        "import importlib\n"
        "for name in ('torch', 'transformers', 'peft'):\n"
        "    try: importlib.import_module(name)\n"
        "    except Exception as error: print(name, '(' + str(error).splitlines()[0] + ')')\n"
    )
    try:
        found = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    except OSError as error:
        return f"Python itself ({error.strerror})"
    return ", ".join(filter(None, found.stdout.splitlines()))


def read_options() -> argparse.Namespace:
    """The options; a mistake in them is one sentence with exit code 2."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", default="bundled,50m", help=f"of {', '.join(SHAPES)}")
    parser.add_argument("--modes", default="fit,step,eager,compiled", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--platform", default="cpu", choices=("cpu", "gpu"))
    parser.add_argument("--torch-python", default=sys.executable, help="the Python that has torch and peft")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each")
    parser.add_argument("--steps", type=int, default=10, help="steps per turn")
    parser.add_argument("--limit", type=float, default=600, help="seconds until a worker must answer")
    parser.add_argument("--cpus", type=int, help="use that many processors  [default: all]")
    options = parser.parse_args()
    for name, known in (("shapes", SHAPES), ("modes", NAMES)):
        chosen = getattr(options, name).split(",")
        if unknown := [value for value in chosen if value not in known]:
            parser.error(f"--{name}: unknown {', '.join(unknown)}; choose from {', '.join(known)}")
        setattr(options, name, chosen)
    if min(options.rounds, options.steps, options.cpus or 1) < 1:
        parser.error("--rounds, --steps and --cpus must be at least 1")
    if options.cpus:
        # The workers inherit it.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-options.cpus :])
    if set(options.modes) - set(KIT_MODES) and (missing := missing_packages(options.torch_python)):
        parser.exit(
            2,
            f"{options.torch_python} lacks {missing}: `pip install torch transformers peft` (in another environment, "
            "whose Python --torch-python names), or measure this kit alone with --modes fit,step.\n",
        )
    return options


def main() -> None:
    """Print one table per shape."""
    options = read_options()
    for shape in options.shapes:
        turns, reports = measure(shape, options)
        print_table(shape, turns, reports)
        versions = {name: value for report in reports.values() for name, value in report.get("versions", {}).items()}
        devices = {report["device"] for report in reports.values() if "device" in report}
        print(f"\n{options.dtype}, {', '.join(sorted(devices))}; " + ", ".join(f"{k} {v}" for k, v in versions.items()))


if __name__ == "__main__":
    main()
