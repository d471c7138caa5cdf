"""The list of equivalent mutants fits the reference."""

from kit.course.catalogue import catalogue
from kit.dev.mutants import equivalent_mutants, make_mutants


def test_each_equivalent_mutant_is_still_made() -> None:
    """No entry is left from an older reference."""
    made = {mutant.key for exercise in catalogue().names for mutant in make_mutants(exercise)}
    assert len(equivalent_mutants()) > 20
    assert not equivalent_mutants().keys() - made
