"""Solutions are differences, and the checks of the functions that differ run on each."""

import re
from pathlib import Path

import pytest
from exercise_folder import SOLUTIONS

from kit.course.catalogue import catalogue
from kit.dev.proof import problems_of_material
from kit.dev.solutions import Solution, find_solution, read_solutions
from kit.dev.tasks import fill_tasks, solved_tasks
from kit.errors import UserError
from kit.tpu.compiler import has_libtpu


def read(folder: Path, text: str, exercise: str = "lora") -> Solution:
    """The solution ``one`` of a file with this text."""
    (folder / f"{exercise}.toml").write_text('[one]\nwhy = "It is wrong."\n' + text, encoding="utf-8")
    return find_solution(folder, exercise, "one")


def test_the_material_of_the_kit_has_no_problem() -> None:
    solutions = read_solutions(SOLUTIONS)
    assert len(solutions) > 290
    assert problems_of_material(solutions) == []


def test_every_solution_has_checks() -> None:
    without = [solution for solution in read_solutions(SOLUTIONS) if not solution.checks]
    # The checks of these need the TPU compiler.
    assert has_libtpu() or len(without) > 5
    assert all(solution.layer == "tpu_compile" and not has_libtpu() for solution in without)


def test_tasks_replace_code_of_the_reference(tmp_path: Path) -> None:
    solution = read(tmp_path, "codes = ['LORA_WRONG_COUNT']\ntasks.2 = 'return 1, 2'\n")
    assert solution.source == fill_tasks("lora", solved_tasks("lora") | {"2": "return 1, 2"})
    assert solution.functions == ("count_parameters",)
    assert {check.function for check in solution.checks} == {"count_parameters"}
    assert not solution.passes


def test_tasks_over_the_stub_leave_the_others_open(tmp_path: Path) -> None:
    solution = read(tmp_path, "codes = ['NOT_IMPLEMENTED']\nover = 'stub'\ntasks.2 = 'return 1, 2'\n")
    assert solution.source == fill_tasks("lora", {"2": "return 1, 2"})
    assert solution.source.count("raise NotImplementedError") == 2


def test_edits_definitions_and_code_at_the_top(tmp_path: Path) -> None:
    solution = read(
        tmp_path,
        "codes = ['LORA_WRONG_RANK']\nbefore = 'RANK = 4'\nedits.'enable_lora(rank, ' = 'enable_lora(RANK, '\n"
        'definitions = """\ndef count_parameters(model):\n    return 1, 2\n"""\n',
    )
    assert "\nRANK = 4\n" in solution.source
    assert "enable_lora(RANK, " in solution.source
    assert re.search(r"^def count_parameters\(model\):\n    return 1, 2\n", solution.source, re.M)
    assert solution.functions == ("enable_lora", "count_parameters")


def test_a_helper_that_differs_is_tried_with_the_functions_that_use_it(tmp_path: Path) -> None:
    edit = "edits.'return trainable | optimizer' = 'return trainable'\n"
    solution = read(tmp_path, "codes = ['CHECKPOINT_ADAPTERS_LOST']\n" + edit, "checkpoint")
    assert set(solution.functions) == {"_training_state", "save_training", "resume_training"}


def test_a_solution_may_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "lora").mkdir()
    (tmp_path / "lora" / "one.py").write_text("def enable_lora(:\n")
    solution = read(tmp_path, "codes = ['EXERCISE_DOES_NOT_IMPORT']\n")
    assert solution.source == "def enable_lora(:\n"
    # All checks of the exercise.
    assert len(solution.checks) == len([check for check in catalogue().checks_of("lora") if check.is_available])


def test_a_whole_run_has_all_parts(tmp_path: Path) -> None:
    solution = find_solution(SOLUTIONS, "run", "stops_early")
    folder = solution.write(tmp_path / "parts")
    assert "from kit.reference.mesh import *" in (folder / "mesh.py").read_text()
    assert (folder / "training.py").read_text() == solution.source


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("codes = ['LORA_UNKNOWN']\ntasks.1 = 'pass'\n", "unknown codes .*LORA_UNKNOWN"),
        ("codes = ['PASSES']\ntask.1 = 'pass'\n", "unknown keys .*task"),
        ("codes = ['PASSES']\ntasks.9 = 'pass'\n", "0 gaps for task 9"),
        ("codes = ['PASSES']\nedits.'model' = 'mode'\n", "'model' occurs"),
        ("tasks.1 = 'pass'\n", "codes"),
        ("codes = ['PASSES']\n", "one.py"),
    ],
)
def test_a_mistake_names_the_file_and_the_solution(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=rf"lora.toml, one: .*{message}"):
        read(tmp_path, text)


def test_unknown_folders_and_names(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such folder"):
        read_solutions(tmp_path / "nowhere")
    with pytest.raises(UserError, match="mesh has no solution 'none'"):
        find_solution(SOLUTIONS, "mesh", "none")
