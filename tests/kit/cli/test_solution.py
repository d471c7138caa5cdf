"""`kit solution` shows the solution to those who solved the exercise or give up."""

import ast
import shutil
from pathlib import Path

import pytest
from command_line import Kit, expect_one_sentence, without_progress
from exercise_folder import reference_source

from kit.course import lessons
from kit.course.board import CheckRun
from kit.course.catalogue import catalogue
from kit.course.lessons import REFERENCE_FOLDER
from kit.judge.runner import Runner, Verdict


@pytest.mark.parametrize("name", catalogue().names)
def test_a_solution_is_shown_after_giving_up(kit: Kit, name: str) -> None:
    code, output, message = kit("solution", name, "--give-up")
    assert (code, message) == (0, "")
    assert "# region" not in output
    assert "NotImplementedError" not in output
    assert ast.dump(ast.parse(output)) == ast.dump(ast.parse(reference_source(name)))


def test_a_solution_is_not_shown_for_a_stub(exercises: Path, kit: Kit) -> None:
    code, output, message = kit("solution", "mesh")
    assert (code, output) == (2, "")
    *checks, last = message.splitlines()
    assert len(checks) == 1
    assert checks[0].startswith("FAILED")
    assert last.startswith("kit: mesh does not pass yet (NOT_IMPLEMENTED")
    assert "--give-up` shows the solution anyway" in last


def test_a_solution_is_shown_for_a_solved_exercise(exercises: Path, kit: Kit) -> None:
    shutil.copy(REFERENCE_FOLDER / "mesh.py", exercises / "mesh.py")
    code, output, message = kit("solution", "mesh")
    assert code == 0
    assert [line.partition("  ") for line in without_progress(message).splitlines()] == [
        ("passed", "  ", check.asks) for check in catalogue().checks_of("mesh")
    ]
    assert output == kit("solution", "mesh", "--give-up")[1]


def test_results_that_are_kept_are_not_found_again(exercises: Path, kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has passed is not run, until the module changes."""
    shutil.copy(REFERENCE_FOLDER / "mesh.py", exercises / "mesh.py")
    run = CheckRun("exercises", ["mesh"])
    for check in catalogue().checks_of("mesh")[:-1]:
        run.add(Verdict(check, None))
    run.close()
    asked = []
    monkeypatch.setattr(Runner, "run", lambda self, impl, check: asked.append(check.name) or Verdict(check, None))
    assert kit("solution", "mesh")[0] == 0
    assert asked == ["devices"]
    assert kit("solution", "mesh")[0] == 0
    assert asked == ["devices"]
    (exercises / "mesh.py").write_text(reference_source("mesh") + "\n")
    assert kit("solution", "mesh")[0] == 0
    assert len(asked) == 1 + len(catalogue().checks_of("mesh"))


def test_a_copy_without_solutions(exercises: Path, kit: Kit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(lessons, "REFERENCE_FOLDER", tmp_path / "nowhere")
    for options in ([], ["--give-up"]):
        code, output, message = kit("solution", "mesh", *options)
        assert (code, output) == (2, "")
        expect_one_sentence(message, "kit: This copy of the kit has no solutions")
