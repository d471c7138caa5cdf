"""A diagnosis crosses a pipe as data."""

from kit.checks.diagnosis import Diagnosis, Failed


def test_a_diagnosis_crosses_a_pipe() -> None:
    made = Failed("MESH_WRONG_SHAPE", "cause", ("a", "b"), [(1, (2, 3))]).diagnosis
    assert made.rows == (("1", "(2, 3)"),)
    assert Diagnosis.from_dict(made.as_dict()) == made
