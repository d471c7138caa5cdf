"""Saves an exercise 100 times in `kit watch` on a real terminal: times, processes left, and memory.

Every tenth save is not Python, and two never return; each of those is saved over after a second.
Linux, about two minutes on 2 cores. Usage: python benchmarks/saves.py [HOW_MANY]
"""

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from terminals import Terminal

from kit.course.catalogue import catalogue
from kit.parts.implementation import REFERENCE, find_parts

WATCH = [sys.executable, "-c", "from kit.cli.main import main; main()", "watch", "mesh"]
RIGHT = find_parts(REFERENCE).file_of("mesh").read_text(encoding="utf-8")
BROKEN = RIGHT + "\ndef broken(:\n"
ENDLESS = "def make_device_mesh(batch, model, devices=None):\n    while True:\n        pass\n"
#: The screen is cleared before a check, and again before its outcome.
CLEAR = b"\x1b[H\x1b[2J"


def processes(parent: int) -> dict[int, int]:
    """The processes that have started from one, with their memory in kB; itself included."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            parents[int(folder.name)] = int(fields[1])
        except (OSError, ValueError):
            continue
    found = {parent}
    while more := {child for child, of in parents.items() if of in found} - found:
        found |= more
    return {pid: resident(pid) for pid in found}


def resident(pid: int) -> int:
    """Resident memory of a process in kB; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmRSS:")), 0)


def wait_for_outcome(terminal: Terminal, begin: int, expected: bytes) -> float:
    """Seconds until the terminal shows an outcome, printed after a byte of what it has printed."""
    started = time.monotonic()
    while expected not in terminal.printed[begin:].rpartition(CLEAR)[2]:
        if time.monotonic() - started > 120 or not terminal.read(0.01):
            raise SystemExit(f"no outcome {expected!r}:\n{terminal.printed[begin:].decode(errors='replace')}")
    return time.monotonic() - started


def main() -> None:
    """Print a line of each kind of save, then processes and memory."""
    saves = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    endless = {saves // 3, 2 * saves // 3}
    taken: dict[str, list[float]] = {"right": [], "broken": [], "right, after an endless loop": []}
    with tempfile.TemporaryDirectory() as folder:
        for name in catalogue().names:
            Path(folder, f"{name}.py").write_text(catalogue().stub(name), encoding="utf-8")
        file = Path(folder, "mesh.py")
        terminal = Terminal([*WATCH, "--impl", folder])
        wait_for_outcome(terminal, 0, b"0 of 4 passed")
        memory = []
        for number in range(1, saves + 1):
            begin, after_endless = len(terminal.printed), number - 1 in endless
            if number in endless:
                file.write_text(ENDLESS)
                terminal.read(1.0)
                continue
            broken = number % 10 == 0
            file.write_text((BROKEN if broken else RIGHT) + f"# {number}\n")
            seconds = wait_for_outcome(terminal, begin, b"0 of 4 passed" if broken else b"all 4 passed")
            name = "broken" if broken else "right, after an endless loop" if after_endless else "right"
            taken[name].append(seconds)
            if number % 10 == 0:
                terminal.read(0.5)
                memory.append(processes(terminal.pid))
        started = processes(terminal.pid)
        terminal.press(b"\x03")
        pressed = time.monotonic()
        while terminal.read(0.01):
            pass
        ended = time.monotonic() - pressed
        time.sleep(0.5)
        left = [pid for pid in started if os.path.exists(f"/proc/{pid}")]
    for name, seconds in taken.items():
        if seconds:
            print(f"{len(seconds):>3} {name:<30} {statistics.median(seconds):.2f} s  (at most {max(seconds):.2f})")
    first, last = sum(memory[0].values()), sum(memory[-1].values())
    print(f"memory after 10 saves {first / 1e3:.0f} MB, after {saves} {last / 1e3:.0f} MB: {last / first - 1:+.1%}")
    print(f"processes after 10 saves {len(memory[0])}, after {saves} {len(memory[-1])}")
    print(f"Ctrl-C: ended after {ended:.2f} s with exit code {terminal.returncode}; processes left: {len(left)}")
    if left or abs(last / first - 1) > 0.1:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
