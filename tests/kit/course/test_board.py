"""The board reads files and results; its states and its next step follow from them."""

import dataclasses
import os
from pathlib import Path

import pytest
from exercise_folder import reference_source, source_of, write_exercises

from kit.checks.codes import NOT_IMPLEMENTED
from kit.checks.diagnosis import Failed
from kit.course.board import CheckRun, Row, read_board
from kit.course.catalogue import catalogue
from kit.course.workspace import Workspace
from kit.judge.catalogue import available
from kit.judge.runner import Verdict

WRONG = Failed("REVIEWS_LABELS_KEPT", "The labels are in the batches.").diagnosis
OPEN = Failed(NOT_IMPLEMENTED, "exercises/lora.py::enable_lora is not implemented yet.").diagnosis


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(write_exercises(tmp_path / "exercises"))


def solve(workspace: Workspace, *exercises: str) -> None:
    for exercise in exercises:
        workspace.file_of(exercise).write_text(reference_source(exercise))


def keep(workspace: Workspace, exercise: str, checks: slice = slice(None), **failed: object) -> CheckRun:
    """Keep verdicts as if an exercise had been checked: passed, unless a diagnosis is given."""
    run = CheckRun(str(workspace.folder), [exercise])
    for check in available(catalogue().checks_of(exercise))[checks]:
        run.add(Verdict(check, failed.get(check.name)))  # type: ignore[arg-type]  # a diagnosis or None
    run.close()
    return run


def row(workspace: Workspace, exercise: str) -> Row:
    return read_board(workspace).row(exercise)


def test_a_fresh_folder(workspace: Workspace) -> None:
    board = read_board(workspace)
    assert [row.exercise for row in board.rows] == list(catalogue().names)
    assert {row.state for row in board.rows} == {"not started"}
    assert board.passed == ()
    assert board.next_step.command == "kit lesson mesh"
    assert not (workspace.folder.parent / ".kit").exists()


def test_states(workspace: Workspace) -> None:
    solve(workspace, "mesh", "layout", "loading", "reviews", "lora", "training", "generation")
    keep(workspace, "mesh")
    assert row(workspace, "mesh").state == "passed"
    assert row(workspace, "mesh").layers == ("interface", "spec")
    assert row(workspace, "layout").state == "not checked"
    keep(workspace, "loading")
    with workspace.file_of("loading").open("a") as file:
        file.write("# a change\n")
    assert dataclasses.asdict(row(workspace, "loading")) | {"number": 0} == {
        "number": 0,
        "exercise": "loading",
        "minutes": 15,
        "advanced": False,
        "state": "changed since",
        "passed": 0,
        "checks": len(catalogue().checks_of("loading")),
        "layers": (),
        "predicted": (0, 0),
        "note": "it passed before",
    }
    keep(workspace, "reviews", text_alone=WRONG)
    assert row(workspace, "reviews").state == "failing"
    assert row(workspace, "reviews").note == "REVIEWS_LABELS_KEPT: The labels are in the batches."
    assert row(workspace, "reviews").layers == ("interface",)
    keep(workspace, "lora", adapters=OPEN)
    assert (row(workspace, "lora").state, row(workspace, "lora").note) == ("begun", OPEN.cause)
    keep(workspace, "training", slice(3))
    assert row(workspace, "training").state == "begun"
    assert row(workspace, "training").note.startswith("not checked yet: spec, train")
    workspace.file_of("generation").unlink()
    assert row(workspace, "generation").state == "missing"
    workspace.file_of("checkpoint").write_text("def save(:\n")
    assert (row(workspace, "checkpoint").state, row(workspace, "checkpoint").note) == (
        "not checked",
        "this is not Python",
    )


def test_a_mistake_comes_before_what_is_not_written(workspace: Workspace) -> None:
    solve(workspace, "reviews")
    keep(workspace, "reviews", interface_of_prepare_reviews=OPEN, order=WRONG)
    assert row(workspace, "reviews").state == "failing"


def test_the_next_step_is_about_the_file_that_was_saved_last(workspace: Workspace) -> None:
    workspace.file_of("lora").write_text(source_of("lora", "right_by_shapes"))
    workspace.file_of("reviews").write_text(source_of("reviews", "labels_kept"))
    os.utime(workspace.file_of("reviews"), (1, 1))
    step = read_board(workspace).next_step
    assert (step.sentence, step.command) == ("lora has not been checked.", "kit check lora")
    os.utime(workspace.file_of("lora"), (0, 0))
    keep(workspace, "reviews", text_alone=WRONG)
    assert read_board(workspace).next_step.sentence == "reviews fails: REVIEWS_LABELS_KEPT."
    assert read_board(workspace, "mine").next_step.command == "kit check reviews --impl=mine"


def test_the_next_step_towards_the_end(workspace: Workspace) -> None:
    core = [exercise.name for exercise in catalogue().exercises if not exercise.advanced]
    solve(workspace, *core)
    for name in core:
        keep(workspace, name)
    step = read_board(workspace).next_step
    assert step.command == "kit lesson planning"
    assert "`kit run --impl exercises`" in step.sentence
    for exercise in catalogue().exercises:
        if exercise.advanced:
            solve(workspace, exercise.name)
            keep(workspace, exercise.name)
    board = read_board(workspace)
    assert board.passed == catalogue().names
    assert board.next_step.command == "kit run --impl exercises"


def test_a_missing_file_is_written_by_the_next_step(workspace: Workspace) -> None:
    workspace.file_of("mesh").unlink()
    assert read_board(workspace).next_step.command == "kit reset mesh"
    assert read_board(workspace, "mine").next_step.command == "kit reset mesh --folder=mine"


def test_after_checks_a_person_reads_what_was_learned(workspace: Workspace) -> None:
    solve(workspace, "mesh")
    lines = keep(workspace, "mesh").closing_lines(["mesh"])
    assert lines[0] == f"mesh: passed. {catalogue().find('mesh').learned}"
    assert lines[1].startswith("1 of 12 exercises passed. ")
    assert lines[2] == "Next: kit lesson layout"
    # With others, what is known already is not repeated.
    assert not keep(workspace, "mesh").closing_lines(["mesh", "layout"])[0].startswith("mesh: passed")
    assert keep(workspace, "mesh").closing_lines([]) == []
    assert CheckRun("reference").closing_lines(["mesh"]) == []


def test_a_damaged_file_is_no_obstacle(workspace: Workspace) -> None:
    file = workspace.folder.parent / ".kit" / "results.json"
    file.parent.mkdir()
    file.write_text("{")
    board = read_board(workspace)
    assert "is damaged" in board.problem
    assert board.row("mesh").state == "not started"


def test_a_file_that_cannot_be_read_is_no_obstacle(workspace: Workspace) -> None:
    workspace.file_of("mesh").unlink()
    workspace.file_of("mesh").mkdir()
    assert row(workspace, "mesh").state == "not checked"
    assert "mesh.py cannot be read" in row(workspace, "mesh").note


def test_each_exercise_says_what_is_learned() -> None:
    learned = [exercise.learned for exercise in catalogue().exercises]
    assert len(set(learned)) == len(catalogue().names)
    assert all(text.endswith(".") and 40 < len(text) < 120 for text in learned)
