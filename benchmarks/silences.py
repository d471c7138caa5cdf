"""When each command says something first on a terminal, and for how long it is silent at most.

Each command runs on a terminal of 24 lines and 80 columns, one after the other, in a new folder.
About five minutes on 2 cores. Usage: python benchmarks/silences.py [NAME …]

The budgets are 0.3 s until the first character, and no second without a change. Bytes and lines
that are wider than the terminal show a bar that floods it.
"""

import re
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

from terminals import COLUMNS, Terminal

from kit.course.catalogue import catalogue
from kit.parts.implementation import REFERENCE, find_parts

ROOT = Path(__file__).parents[1]
KIT = [sys.executable, "-c", "from kit.cli.main import main; main()"]
PYTEST = [
    sys.executable,
    "-m",
    "pytest",
    "-q",
    "-p",
    "no:cacheprovider",
    f"--rootdir={ROOT}",
    "-c",
    f"{ROOT}/pyproject.toml",
]
SHORT_RUN = ["--batches", "40", "--sequence-length", "64", "--evidence", "quick"]
#: Name -> command, and what to wait for before a key ends it. RUN stands for the folder of a run.
COMMANDS: dict[str, tuple[list[str], bytes, bytes]] = {
    "kit --help": ([*KIT, "--help"], b"", b""),
    "kit lesson": ([*KIT, "lesson"], b"", b""),
    "kit lesson mesh": ([*KIT, "lesson", "mesh"], b":", b"q"),
    "kit hint mesh": ([*KIT, "hint", "mesh"], b"", b""),
    "kit solution mesh": ([*KIT, "solution", "mesh"], b"", b""),
    "kit doctor": ([*KIT, "doctor"], b"", b""),
    "kit watch mesh": ([*KIT, "watch", "mesh"], b"q quit", b"q"),
    "kit watch training": ([*KIT, "watch", "training"], b"q quit", b"q"),
    "kit watch, Ctrl-C in imports": ([*KIT, "watch"], b"checking", b"\x03"),
    "kit run, Ctrl-C in imports": ([*KIT, "run"], b"modules", b"\x03"),
    "kit run": ([*KIT, "run", *SHORT_RUN], b"", b""),
    "kit report": ([*KIT, "report", "RUN"], b"", b""),
    "kit export": ([*KIT, "export", "RUN", "exported"], b"", b""),
    "kit plan bundled": ([*KIT, "plan", "bundled"], b"", b""),
    "kit grade": ([*KIT, "grade", "class", "--exercises", "mesh,reviews"], b"", b""),
    "kit dev check reviews": ([*KIT, "dev", "check", "reviews", "--only", "labels_kept"], b"", b""),
    "pytest test_mesh.py": ([*PYTEST, str(ROOT / "tests/exercises/test_mesh.py"), "--impl=exercises"], b"", b""),
}


def prepare(folder: Path) -> None:
    """Write exercises, of which two are solved, and a class of two learners."""
    for place in (folder / "exercises", folder / "class/ada", folder / "class/emmy"):
        place.mkdir(parents=True)
        for name in catalogue().names:
            solved = name in ("mesh", "reviews", "training")
            text = find_parts(REFERENCE).file_of(name).read_text() if solved else catalogue().stub(name)
            (place / f"{name}.py").write_text(text, encoding="utf-8")
    (folder / "tests").symlink_to(ROOT / "tests")


def widest_line(printed: bytes) -> int:
    """Columns of the widest line that stays on the terminal."""
    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[78]", "", printed.decode(errors="replace")).splitlines()
    return max((len(line.rpartition("\r")[2]) for line in lines), default=0)


def row(name: str, folder: Path) -> str:
    """Run a command, and return its row of the table."""
    command, text, keys = COMMANDS[name]
    run = next(iter(sorted(folder.glob("runs/*"))), folder)
    terminal = Terminal([word.replace("RUN", str(run.relative_to(folder))) for word in command], folder)
    pressed = 0.0
    while terminal.read(0.02):
        if text and not pressed and text in terminal.printed:
            terminal.press(keys)
            pressed = terminal.seconds
        if terminal.seconds > 400:
            terminal.close()
            return f"{name:<30} did not end within 400 s"
    ended = terminal.seconds
    moments = [0.0, *terminal.times, ended]
    silence, since = max((after - before, before) for before, after in pairwise(moments))
    after_key = f", {ended - pressed:.2f} s after the key" if pressed else ""
    return (
        f"{name:<30} {moments[1]:>6.2f} s {silence:>8.2f} s at {since:>5.1f} s {ended:>8.1f} s "
        f"{len(terminal.printed):>8,} {widest_line(terminal.printed):>4}  exit {terminal.returncode}{after_key}"
    )


def main() -> None:
    """Print one line per command."""
    names = sys.argv[1:] or list(COMMANDS)
    print(f"{'':<30} {'first':>8} {'longest silence':>20} {'ended':>10} {'bytes':>8} widest of {COLUMNS}")
    with tempfile.TemporaryDirectory() as scratch:
        prepare(Path(scratch))
        for name in names:
            print(row(name, Path(scratch)), flush=True)
            time.sleep(0.2)


if __name__ == "__main__":
    main()
