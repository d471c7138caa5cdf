"""`kit watch` checks exercises, and stops at the first check that fails."""

import re
from pathlib import Path

from command_line import kit
from exercise_folder import write_exercises

from kit.course.catalogue import catalogue
from kit.course.results import ResultsFile
from kit.course.workspace import Workspace


def test_watch(tmp_path: Path) -> None:
    folder = write_exercises(tmp_path / "mine", mesh="right_numpy_grid", reviews="labels_kept")
    finished = kit("watch", "--once", f"--impl={folder}", "mesh", "reviews", "lora", cwd=tmp_path)
    assert finished.returncode == 0
    assert re.search(r"^mesh: all 4 passed, \d+\.\d s$", finished.stdout, re.M)
    assert re.search(r"^reviews: 1 of 5 passed, .*\nREVIEWS_LABELS_KEPT: ", finished.stdout, re.M)
    assert f"mesh: passed. {catalogue().find('mesh').learned}\n1 of 12 exercises passed. " in finished.stdout
    kept = ResultsFile(Workspace(folder)).read()[0]
    assert {name: [result.code for result in checks.values()] for name, checks in kept.items()} == {
        "mesh": [""] * 4,
        "reviews": ["", "REVIEWS_LABELS_KEPT"],
        "lora": ["NOT_IMPLEMENTED"],
    }
    assert re.search(r"^lora: 0 of 6 passed, .*\nNOT_IMPLEMENTED: ", finished.stdout, re.M)
