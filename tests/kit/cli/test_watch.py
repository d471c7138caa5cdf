"""`kit watch` checks exercises, and stops at the first check that fails."""

import re
from pathlib import Path

from command_line import kit
from exercise_folder import write_exercises


def test_watch(tmp_path: Path) -> None:
    folder = write_exercises(tmp_path / "mine", mesh="right_numpy_grid", reviews="labels_kept")
    finished = kit("watch", "--once", f"--impl={folder}", "mesh", "reviews", "lora", cwd=tmp_path)
    assert finished.returncode == 0
    assert re.search(r"^mesh: all 4 passed, \d+\.\d s$", finished.stdout, re.M)
    assert re.search(r"^reviews: 1 of 5 passed, .*\nREVIEWS_LABELS_KEPT: ", finished.stdout, re.M)
    assert re.search(r"^lora: 0 of 6 passed, .*\nNOT_IMPLEMENTED: ", finished.stdout, re.M)
