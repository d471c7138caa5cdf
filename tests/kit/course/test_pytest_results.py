"""pytest keeps results, shows the learner's line, and says what to do next."""

import re
from pathlib import Path

import pytest
from exercise_folder import pytest_on, source_of, write_exercises

from kit.course.catalogue import catalogue
from kit.course.results import ResultsFile
from kit.course.workspace import Workspace


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["one process", "two workers"])
def test_results_are_kept_and_the_next_step_is_named(tmp_path: Path, workers: list[str]) -> None:
    folder = write_exercises(tmp_path / "mine", mesh="right_numpy_grid", reviews="labels_kept")
    tests = [f"tests/exercises/test_{name}.py" for name in ("mesh", "reviews", "lora")]
    finished = pytest_on(folder, *tests, *workers)
    kept = ResultsFile(Workspace(folder)).read()[0]
    assert {name: len(checks) for name, checks in kept.items()} == {
        name: len(catalogue().checks_of(name)) for name in ("mesh", "reviews", "lora")
    }
    assert kept["reviews"]["text_alone"].code == "REVIEWS_LABELS_KEPT"
    *_, learned, count, step, _ = finished.stdout.splitlines()
    assert learned == f"mesh: passed. {catalogue().find('mesh').learned}"
    assert count == "1 of 12 exercises passed. reviews fails: REVIEWS_LABELS_KEPT."
    assert step == f"Next: kit check reviews --impl={folder}"
    # Where the learner's function is defined, as pytest shows the place of a failure.
    line = 1 + [line.startswith("def ") for line in source_of("reviews", "labels_kept").splitlines()].index(True)
    assert f"\n{folder}/reviews.py:{line}: REVIEWS_LABELS_KEPT\n" in finished.stdout
    assert re.search(r"^FAILED \S+test_reviews\[text-alone\] - REVIEWS_", finished.stdout, re.M)


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["one process", "two workers"])
def test_a_folder_that_cannot_be_written_changes_no_verdict(tmp_path: Path, workers: list[str]) -> None:
    folder = write_exercises(tmp_path / "mine")
    (tmp_path / ".kit").write_text("a file")
    finished = pytest_on(folder, "tests/exercises/test_mesh.py", *workers)
    assert "4 failed" in finished.stdout.splitlines()[-1]
    assert finished.stdout.count("The results were not kept: ") == 1
    assert finished.stderr == ""


def test_the_line_of_an_error_is_the_place_of_the_failure(tmp_path: Path) -> None:
    folder = write_exercises(tmp_path / "mine")
    (folder / "tools.py").write_text("def helper():\n    return 1 / 0\n")
    (folder / "mesh.py").write_text(
        "def make_device_mesh(batch, model, devices=None):\n    from tools import helper\n    return helper()\n"
    )
    (folder / "lora.py").write_text("\ndef enable_lora(:\n")
    tests = ["tests/exercises/test_mesh.py::test_mesh[shape]", "tests/exercises/test_lora.py::test_lora[adapters]"]
    finished = pytest_on(folder, *tests, "--tb=line")
    assert f"\n{folder}/tools.py:2: EXERCISE_CRASHED: " in finished.stdout
    assert f"\n{folder}/lora.py:2: EXERCISE_DOES_NOT_IMPORT: " in finished.stdout


def test_tests_are_in_the_order_of_the_course() -> None:
    finished = pytest_on("exercises", "--collect-only", "tests/exercises")
    found = dict.fromkeys(re.findall(r"test_(\w+)\.py::", finished.stdout))
    assert list(found) == [*catalogue().names, "run"]
