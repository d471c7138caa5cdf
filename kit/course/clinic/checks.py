"""The checks of ``clinic``: diagnoses of drawn patients, and a layout for any Gemma."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import keras

from kit.checks.diagnosis import Failed
from kit.course.clinic.mistakes import (
    OF_MOMENTS,
    OF_RULES,
    OF_SPECS,
    Diagnosis,
    causes_table,
    deciding,
    effects_table,
    layout_diagnosis,
    matching_table,
    moments_diagnosis,
    moments_table,
)
from kit.course.clinic.patients import ALL_LAYERS, Patient, moments_patients, patients, shapes_of
from kit.course.shared import tensor_parallel as oracle
from kit.course.shared.layout_judgement import LayoutCall, LayoutMapSeen, judge_layout
from kit.course.shared.meshes import sharding_meshes
from kit.judge.mistakes import MistakeTable
from kit.judge.observation import Outcome, returned
from kit.judge.submission import Submission
from kit.models.architectures import GEMMA_2B, GEMMA_7B

#: What the layout map of ``prescribe`` is judged on: the model, its configuration and LoRA's rank.
PRESCRIBED: tuple[tuple[str, Mapping[str, Any], int], ...] = (
    ("Gemma 7B", GEMMA_7B, 4),
    ("Gemma 2B", GEMMA_2B, 0),
    ("a small Gemma with LoRA", oracle.small_config(), 4),
    ("a small Gemma with four key and value heads", oracle.small_config(num_key_value_heads=4), 0),
)
#: Of LoRA on all layers; no axis divides it.
_RANK = 5


def observe_rules(submission: Submission) -> list[Outcome[dict[str, list[str]]]]:
    """The rules of each path of each patient."""
    return [_observe(submission, "deciding_rules", each.layout_map(), list(each.shapes)) for each in patients()]


def judge_rules(outcomes: list[Outcome[dict[str, list[str]]]]) -> None:
    """They are those that Keras finds."""
    found: dict[str, float] = {}
    first: list[tuple[Any, ...]] = []
    for number, (patient, outcome) in enumerate(zip(patients(), outcomes, strict=True), 1):
        rules = returned(outcome)
        for rule in patient.rules:
            found[f"patient {number}: paths of {rule}"] = sum(rule in keys for keys in rules.values())
        for path in {**patient.shapes, **rules}:
            expected = deciding(patient, path) if path in patient.shapes else []
            if sorted(rules.get(path, [])) != sorted(expected):
                first.append((number, path, _listed(expected), _listed(rules.get(path, []))))
    if first:
        cause = f"`deciding_rules` returns other rules than Keras finds, for {len(first)} paths of all patients."
        columns = ("patient", "path", "Keras", "yours")
        raise _with_rows(matching_table(), found, "CLINIC_WRONG_RULES", cause, columns, first)


def observe_causes(submission: Submission) -> list[Outcome[dict[str, list[str]]]]:
    """The diagnosis of each patient's layout map."""
    return [_observe(submission, "diagnose_layout", each.layout_map(), dict(each.shapes)) for each in patients()]


def judge_causes(outcomes: list[Outcome[dict[str, list[str]]]]) -> None:
    """Each cause has the names that show it, and a healthy patient has none."""
    made = list(zip(patients(), map(returned, outcomes), strict=True))
    shown = [(_about(patient), layout_diagnosis(patient), found) for patient, found in made]
    _judge_diagnoses(shown, OF_RULES, "diagnose_layout", "CLINIC_WRONG_RULES", effects_table, (*OF_RULES, *OF_SPECS))
    _judge_diagnoses(shown, OF_SPECS, "diagnose_layout", "CLINIC_WRONG_DIAGNOSIS", causes_table)


def observe_moments(submission: Submission) -> list[Outcome[dict[str, list[str]]]]:
    """The diagnosis of each optimizer's moments."""
    return [_observe(submission, "diagnose_moments", *each.arrays()) for each in moments_patients()]


def judge_moments(outcomes: list[Outcome[dict[str, list[str]]]]) -> None:
    """Each cause has the paths that show it."""
    made = list(zip(moments_patients(), map(returned, outcomes), strict=True))
    shown = [(f"mesh {patient.mesh}", moments_diagnosis(patient), found) for patient, found in made]
    _judge_diagnoses(shown, OF_MOMENTS, "diagnose_moments", "CLINIC_WRONG_MOMENTS", moments_table, OF_MOMENTS)


def observe_prescription(submission: Submission) -> list[LayoutCall]:
    """The layout map for each model and mesh."""
    return [
        _prescribe(submission, config["config"], *shape) for _, config, _ in PRESCRIBED for shape in sharding_meshes()
    ]


def _prescribe(submission: Submission, sizes: Mapping[str, Any], batch: int, model: int) -> LayoutCall:
    mesh = oracle.device_mesh(batch, model)
    outcome = submission.observe(
        "prescribe",
        mesh,
        dict(sizes),
        reads=lambda layout_map: LayoutMapSeen.of(layout_map, mesh),
        returns=keras.distribution.LayoutMap,
    )
    return LayoutCall(batch, model, outcome)


def judge_prescription(calls: list[LayoutCall]) -> None:
    """Each model is sharded at least cost, and adapters on any layer are left alone."""
    meshes = len(sharding_meshes())
    by_model = [calls[start : start + meshes] for start in range(0, len(calls), meshes)]
    for (model, config, rank), of_model in zip(PRESCRIBED, by_model, strict=True):
        judge_layout(of_model, model, config, rank)
    for (model, config, _), of_model in zip(PRESCRIBED, by_model, strict=True):
        for call in of_model:
            _judge_adapters_and_scales(model, config["config"], call)


def _judge_adapters_and_scales(model: str, sizes: Mapping[str, Any], call: LayoutCall) -> None:
    """No rule matches an adapter that its spec does not fit, or splits a scale."""
    rules = {rule.pattern: rule.spec for rule in returned(call.outcome).rules}
    shapes = shapes_of(sizes, _RANK, ALL_LAYERS)
    patient = Patient(model, (call.batch, call.model), sizes, shapes, rules)
    diagnosis = layout_diagnosis(patient)
    caught = sorted(diagnosis.get("does not fit", set()) | diagnosis.get("two rules", set()))
    where = f"{model} with LoRA on all layers, on the mesh {patient.mesh}"
    if caught:
        rows = [(path, str(shapes[path]), _listed(deciding(patient, path))) for path in caught[:5]]
        cause = f"For {where}, your rules match {len(caught)} adapters that their spec does not fit."
        raise Failed("CLINIC_PATTERN_WITHOUT_END", cause, ("adapter", "shape", "rule"), rows)
    if scales := sorted(diagnosis.get("costly dimension", set())):
        rows = [(path, str(shapes[path]), _listed(deciding(patient, path))) for path in scales[:5]]
        cause = f"For {where}, your rules split {len(scales)} scales, which each device needs in full."
        raise Failed("CLINIC_SCALE_SPLIT", cause, ("scale", "shape", "rule"), rows)


def _observe(submission: Submission, function: str, *arguments: Any) -> Outcome[dict[str, list[str]]]:
    """The dictionary of names that a function returns; the names can be in any collection."""

    def read(found: dict[Any, Any]) -> dict[str, list[str]]:
        for names in found.values():
            if isinstance(names, str) or not isinstance(names, Iterable):
                submission.expect_type(f"A value of the dictionary of {function}", names, list)
        return {str(key): [str(name) for name in names] for key, names in found.items()}

    return submission.observe(function, *arguments, reads=read, returns=dict)


def _judge_diagnoses(
    shown: Sequence[tuple[str, Diagnosis, Mapping[str, Sequence[str]]]],
    causes: Sequence[str],
    function: str,
    code: str,
    table: Callable[[], MistakeTable],
    known: Sequence[str] = (),
) -> None:
    """Compare these causes of all patients; ``known`` are all that a diagnosis may have."""
    counts: dict[str, float] = {}
    wrong: list[tuple[Any, ...]] = []
    for number, (about, expected, found) in enumerate(shown, 1):
        if unknown := [cause for cause, names in found.items() if names and known and cause not in known]:
            rows = [(", ".join(known), ", ".join(unknown))]
            raise Failed("CLINIC_WRONG_DIAGNOSIS", f"`{function}` returns an unknown cause.", ("known", "yours"), rows)
        for cause in causes:
            right, mine = expected.get(cause, set()), set(found.get(cause, ()))
            counts[f"patient {number}: {cause}"] = len(mine)
            if right != mine:
                wrong += [(number, about, cause, "missing", name) for name in sorted(right - mine)[:2]]
                wrong += [(number, about, cause, "too much", name) for name in sorted(mine - right)[:2]]
    if wrong:
        _, about, cause, *_ = wrong[0]
        text = f'`{function}` names other evidence for "{cause}" than the patient has ({about}).'
        columns = ("patient", "model and mesh", "cause", "", "name")
        raise _with_rows(table(), counts, code, text, columns, wrong)


def _with_rows(
    table: MistakeTable,
    found: Mapping[str, float],
    code: str,
    cause: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
) -> Failed:
    """The diagnosis of a table of counts, with names as its evidence."""
    made = table.failure(found, code, cause).diagnosis
    return Failed(made.code, made.cause, columns, rows[:6], made.remedy, made.anchor, made.mistakes)


def _about(patient: Patient) -> str:
    return f"{patient.description}, {patient.mesh}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
