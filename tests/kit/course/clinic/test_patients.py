"""The patients of `clinic`, and their diagnoses, compared with Keras and JAX."""

import pytest

from kit.course.clinic.mistakes import OF_MOMENTS, OF_RULES, OF_SPECS, deciding, layout_diagnosis, moments_diagnosis
from kit.course.clinic.patients import Patient, moments_patients, patients, shapes_of
from kit.course.shared import tensor_parallel
from kit.evidence.rule_coverage import rule_coverage
from kit.models.weightless import VariableInfo, weightless_variables


def test_the_shapes_are_those_of_keras(devices: list[str]) -> None:
    config = tensor_parallel.small_config()
    found = {variable.path: variable.shape for variable in weightless_variables(config, 3)}
    assert found == shapes_of(config["config"], 3, ("query", "value"))


def test_rules_and_what_does_not_fit_are_those_that_keras_sees(devices: list[str]) -> None:
    for patient in patients():
        layout_map = patient.layout_map()
        for path in patient.shapes:
            rules = deciding(patient, path)
            if len(rules) > 1:
                with pytest.raises(ValueError, match="matches multiple layout"):
                    layout_map[path]
            else:
                assert (layout_map[path] is not None) == bool(rules)
        _compare_with_coverage(patient)


def _compare_with_coverage(patient: Patient) -> None:
    variables = [VariableInfo(path, shape, "float32", True) for path, shape in patient.shapes.items()]
    coverage = rule_coverage(patient.layout_map(), variables)
    diagnosis = layout_diagnosis(patient)
    ill = {found.path for found in coverage.indivisible} | {found.path for found in coverage.misfits}
    assert diagnosis.get("does not fit", set()) == ill
    assert diagnosis.get("two rules", set()) == {path for path, _ in coverage.overlaps}
    assert diagnosis.get("rule without effect", set()) == {rule.pattern for rule in coverage.rules if not rule.paths}


def test_moments_are_in_place_where_jax_says_so(devices: list[str]) -> None:
    for patient in moments_patients():
        trained, moments = patient.arrays()
        misplaced = {
            path
            for path, both in moments.items()
            if path in trained
            and not all(moment.sharding.is_equivalent_to(trained[path].sharding, moment.ndim) for moment in both)
        }
        assert moments_diagnosis(patient).get("placed unlike its variable", set()) == misplaced


def test_each_cause_and_health_occur(devices: list[str]) -> None:
    layouts = [layout_diagnosis(patient) for patient in patients()]
    optimizers = [moments_diagnosis(patient) for patient in moments_patients()]
    assert {} in layouts
    assert {} in optimizers
    assert {cause for found in layouts for cause in found} == {*OF_RULES, *OF_SPECS}
    assert {cause for found in optimizers for cause in found} == set(OF_MOMENTS)
