"""The tests' command as a learner uses it, also in a copy of the kit without the reference."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from exercise_folder import ROOT, SOLUTIONS, pytest_on, source_of, write_exercises

from kit.course.catalogue import catalogue
from kit.dev.solutions import read_solutions

#: Right solutions that do not import kit.reference.
INDEPENDENT = {
    "mesh": "right_numpy_grid",
    "layout": "right_exact_paths",
    "loading": "right_in_steps",
    "reviews": "right_numpy",
    "lora": "right_by_shapes",
    "training": "right_own_adamw",
    "generation": "right_own_decoding",
    "checkpoint": "right_numpy_files",
    "planning": "right_by_shapes",
    "clinic": "right_by_words",
    "precision": "right_subclass",
    "multihost": "right_process_allgather",
}


def test_each_check_of_a_stub_fails_with_one_line(tmp_path: Path) -> None:
    finished = pytest_on(write_exercises(tmp_path / "stubs"))
    assert finished.returncode == 1
    failures = re.findall(r"^_{3,} (test_.*) _{3,}$", finished.stdout, re.M)
    checks = [check for exercise in catalogue().everything for check in exercise.checks if check.is_available]
    assert len(failures) == len([check for check in checks if check.layer != "tpu"])
    lines = re.findall(r"^NOT_IMPLEMENTED: .*$", finished.stdout, re.M)
    assert len(lines) == len(failures)
    assert "Traceback" not in finished.stdout + finished.stderr
    assert re.search(r"make_device_mesh \(line \d+\) .*`kit hint mesh`", finished.stdout)


def test_stubs_are_judged_without_a_framework(tmp_path: Path) -> None:
    stubs = write_exercises(tmp_path / "stubs")
    code = (
        "import sys, pytest\n"
        f"pytest.main(['-q', '-p', 'no:cacheprovider', '--impl={stubs}', 'tests/exercises'])\n"
        "print(sorted(set(sys.modules) & {'jax', 'keras', 'tensorflow', 'numpy', 'hypothesis'}))"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert finished.stdout.splitlines()[-1] == "[]"


def test_a_broken_exercise_affects_no_other(tmp_path: Path) -> None:
    """One exercise ends its process, two do not import, one is right; there are two workers."""
    folder = write_exercises(tmp_path / "mine", mesh="os_exit", reviews="right_numpy")
    (folder / "lora.py").write_text("import sys\nsys.exit(0)\n")
    (folder / "layout.py").write_text("def gemma_layout_map(:\n")
    tests = [f"tests/exercises/test_{name}.py" for name in ("mesh", "layout", "reviews", "lora")]
    finished = pytest_on(folder, *tests, "-n", "2", "-m", "not program")
    # The interface of mesh is right.
    passed = len(catalogue().checks_of("reviews")) + 1
    broken = [check for name in ("mesh", "layout", "lora") for check in catalogue().checks_of(name)]
    failed = sum(check.is_available and check.layer != "program" for check in broken) - 1
    assert f"{failed} failed, {passed} passed" in finished.stdout.splitlines()[-1]
    for text in (
        "EXERCISE_ENDED_THE_PROCESS: mesh.py ended the process with exit code 0",
        "EXERCISE_ENDED_THE_PROCESS: ",
        "EXERCISE_DOES_NOT_IMPORT: ",
    ):
        assert text in finished.stdout
    assert "Traceback" not in finished.stdout


def test_the_same_diagnostic_is_shown_once(tmp_path: Path) -> None:
    finished = pytest_on(write_exercises(tmp_path / "mine", mesh="import_error"), "tests/exercises/test_mesh.py")
    shown, _, summary = finished.stdout.partition("short test summary info")
    assert shown.count("No module named 'kerass'") == 1
    assert "Read: kit lesson" not in summary
    assert shown.count("EXERCISE_DOES_NOT_IMPORT: same as in tests/exercises/test_mesh.py::test_mesh[") == 3


def test_a_copy_without_the_reference_checks_every_exercise(tmp_path: Path) -> None:
    """A student's copy: here all interfaces, and the cheap checks of four exercises."""
    copy = tmp_path / "copy"
    shutil.copytree(ROOT / "kit", copy / "kit", ignore=shutil.ignore_patterns("reference", "__pycache__"))
    shutil.copytree(ROOT / "tests" / "exercises", copy / "tests" / "exercises")
    for name in ("conftest.py", "pyproject.toml"):
        shutil.copy(ROOT / name, copy)
    write_exercises(copy / "exercises", **INDEPENDENT)
    for exercise, name in INDEPENDENT.items():
        assert "kit.reference" not in source_of(exercise, name)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += ["-m", "not program and not train and not tpu_compile"]
    command += ["-k", "interface or test_mesh or test_layout or test_reviews or test_lora"]
    finished = subprocess.run(
        command, capture_output=True, text=True, cwd=copy, env={**os.environ, "PYTHONPATH": str(copy)}, check=False
    )
    cheap = [
        check
        for name in catalogue().names
        for check in catalogue().checks_of(name)
        if check.layer == "interface"
        or (name in ("mesh", "layout", "reviews", "lora") and check.layer not in ("program", "tpu_compile"))
    ]
    assert f"{len(cheap)} passed" in finished.stdout.splitlines()[-1], finished.stdout
    assert not (copy / "kit" / "reference").exists()


def test_there_is_an_independent_solution_for_each_exercise() -> None:
    assert INDEPENDENT.keys() == set(catalogue().names)
    assert all(s.passes for s in read_solutions(SOLUTIONS) if INDEPENDENT.get(s.exercise) == s.name)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tests/kit"], "tests/kit"),
        (["--impl=nowhere"], "--impl nowhere: there is no such folder here"),
        (["--platform=tpu"], "this machine has no TPU"),
    ],
)
def test_a_mistake_is_one_sentence(arguments: list[str], message: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    finished = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert finished.returncode == 4
    assert message in finished.stderr
    assert "Traceback" not in finished.stderr
