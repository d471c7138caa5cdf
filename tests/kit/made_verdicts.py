"""Verdicts of checks that nobody ran: what a page says of them is known."""

from kit.checks.diagnosis import Diagnosis
from kit.course.catalogue import catalogue
from kit.judge.catalogue import Check
from kit.judge.runner import Verdict

WRONG_SHAPE = Diagnosis(
    "MESH_WRONG_SHAPE",
    "make_device_mesh(1, 8) returned <a mesh> of shape (8, 1).",
    ("", "requested", "yours"),
    (("shape", "(1, 8)", "(8, 1)"),),
    "Give the first axis the size `batch` and the second axis the size `model`.",
    "mesh#The grid",
)


def checks_of(exercise: str) -> list[Check]:
    """The checks of an exercise, in their order."""
    return list(catalogue().checks_of(exercise))


def made_verdicts() -> list[Verdict]:
    """Two that pass, and two with the same diagnosis."""
    first, second, third, fourth = checks_of("mesh")
    failed = [Verdict(check, WRONG_SHAPE, output="what was printed\n") for check in (third, fourth)]
    return [Verdict(first, None), Verdict(second, None), *failed]
