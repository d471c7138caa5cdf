"""pytest on a real terminal says how long it has waited for the first verdict."""

import re
import sys
from pathlib import Path

from exercise_folder import ROOT, write_exercises
from terminals import Terminal

COMMAND = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/exercises/test_mesh.py"]


def test_seconds_until_the_first_verdict(tmp_path: Path) -> None:
    folder = write_exercises(tmp_path / "mine", mesh="right_numpy_grid")
    terminal = Terminal([sys.executable, *COMMAND, f"--impl={folder}"], ROOT)
    while terminal.read(0.1):
        pass
    assert terminal.returncode == 0, terminal.printed
    shown = re.findall(rb"\x1b7 checking\xe2\x80\xa6 (\d+) s\x1b\[K\x1b8", terminal.printed)
    assert shown
    # Cleared before the first dot, so that nothing of it stays.
    assert terminal.printed.index(b"\x1b[K", terminal.printed.rindex(b"checking")) > 0
    assert re.search(rb"\.\x1b\[0m", terminal.printed)
