"""A mistake in a command for learners is one sentence, and changes no file."""

from pathlib import Path

import pytest
from command_line import Kit, expect_one_sentence


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lesson", "meshes"], "There is no exercise 'meshes': did you mean mesh? Choose one of mesh, layout"),
        (
            ["lesson", "mesh", "Grids"],
            "The lesson mesh has no heading 'Grids': did you mean The grid? Choose one of What to write",
        ),
        (["lesson", "--folder", "nowhere"], "--folder nowhere: there is no such folder here"),
        (["hint"], "Which exercise? Choose one of mesh, layout"),
        (["hint", "meshes"], "There is no exercise 'meshes'"),
        (["hint", "mesh", "--number", "4"], "--number 4: mesh has hints 1 to 3"),
        (["hint", "mesh", "--number", "0"], "--number 0: mesh has hints 1 to 3"),
        (["hint", "mesh", "--folder", "nowhere"], "--folder nowhere: there is no such folder here"),
        (["reset"], "Which exercise?"),
        (["reset", "meshes"], "There is no exercise 'meshes'"),
        (["reset", "mesh", "--folder", "nowhere"], "--folder nowhere: there is no such folder here"),
        (["reset", "mesh", "--folder", "reference"], "this folder belongs to the kit"),
        (["solution"], "Which exercise?"),
        (["solution", "meshes", "--give-up"], "There is no exercise 'meshes'"),
        (["solution", "mesh", "--folder", "nowhere"], "--folder nowhere: there is no such folder here"),
    ],
    ids=" ".join,
)
def test_a_mistake_is_one_sentence(exercises: Path, kit: Kit, arguments: list[str], message: str) -> None:
    before = {path: path.read_bytes() for path in exercises.parent.rglob("*") if path.is_file()}
    code, output, error = kit(*arguments)
    assert (code, output) == (2, "")
    expect_one_sentence(error, message)
    assert {path: path.read_bytes() for path in exercises.parent.rglob("*") if path.is_file()} == before


def test_an_exercise_that_cannot_be_read(exercises: Path, kit: Kit) -> None:
    """It cannot be started over, and is no obstacle to the others."""
    (exercises / "mesh.py").unlink()
    (exercises / "mesh.py").mkdir()
    code, _, message = kit("reset", "mesh")
    assert code == 2
    expect_one_sentence(message, "kit: exercises/mesh.py cannot be read (")
    code, board, _ = kit()
    assert code == 0
    (mesh,) = [line for line in board.splitlines() if " mesh " in line]
    assert "exercises/mesh.py cannot be read (" in " ".join(mesh.split())
