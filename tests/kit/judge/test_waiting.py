"""pytest on a real terminal says how long it has waited for the first verdict."""

import re
import subprocess
import sys
from pathlib import Path

from exercise_folder import ROOT, source_of, write_exercises
from terminals import Terminal

COMMAND = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/exercises/test_mesh.py"]


def test_seconds_until_the_first_verdict(tmp_path: Path) -> None:
    folder = write_exercises(tmp_path / "mine", mesh="right_numpy_grid")
    slow = "import time\ntime.sleep(2.5)\n" + source_of("mesh", "right_numpy_grid")
    (folder / "mesh.py").write_text(slow)
    terminal = Terminal([sys.executable, *COMMAND, f"--impl={folder}"], ROOT)
    while terminal.read(0.1):
        pass
    assert terminal.returncode == 0, terminal.printed
    shown = re.findall(rb"\x1b7 checking\xe2\x80\xa6 (\d+) s\x1b\[K\x1b8", terminal.printed)
    assert len(shown) >= 2
    # Cleared before the next dot, so that nothing of it stays.
    for part in terminal.printed.split(b"\x1b[32m.")[1:]:
        assert part.count(b"\x1b8") == 0 or part.endswith(b"\x1b8\x1b[K") or b"\x1b8\x1b[K" in part


def test_no_escape_sequences_in_a_pipe(tmp_path: Path) -> None:
    folder = write_exercises(tmp_path / "mine", mesh="right_numpy_grid")
    command = [sys.executable, *COMMAND, f"--impl={folder}"]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout
    assert "checking" not in finished.stdout
    assert "\x1b" not in finished.stdout
