"""The oracle of ``clinic``, and what the usual mistakes in a diagnosis give for its patients."""

import functools
import re
from collections.abc import Callable, Mapping
from typing import Any

from kit.course.clinic.patients import MomentsPatient, Patient, moments_patients, patients
from kit.course.shared import tensor_parallel
from kit.judge.mistakes import RIGHT, Mistake, MistakeTable, Names, Values

#: Cause -> the names that show it.
Diagnosis = dict[str, set[str]]
#: What the rules alone show, and what their specs show.
OF_RULES = ("rule without effect", "two rules")
OF_SPECS = ("does not fit", "replicated", "costly dimension")
OF_MOMENTS = ("placed unlike its variable", "of a frozen variable", "without moments")
_RULES, _SPECS, _MOMENTS = "CLINIC_WRONG_RULES", "CLINIC_WRONG_DIAGNOSIS", "CLINIC_WRONG_MOMENTS"

MATCHING = (
    Mistake(
        "search",
        _RULES,
        "The patterns are looked for anywhere in a path, as `re.search` does. Keras asks for a match of the whole "
        "path.",
        "Use `re.fullmatch`.",
        "clinic#Read the pattern",
    ),
    Mistake(
        "match",
        _RULES,
        "The patterns are matched at the beginning of a path, as `re.match` does, and may end before its end.",
        "Use `re.fullmatch`.",
        "clinic#Read the pattern",
    ),
    Mistake(
        "exact_not_first",
        _RULES,
        "A key that equals the path is treated as one of several patterns. Keras takes it, and asks no pattern.",
        "If the path itself is a key, return this key alone.",
        "clinic#Read the pattern",
    ),
    Mistake(
        "first_rule",
        _RULES,
        "Only the first pattern that matches is returned. Keras does not stop there: it refuses a path that two match.",
        "Return all patterns that match.",
        "clinic#Read the pattern",
    ),
)
EFFECTS = (
    Mistake(
        "matching_is_effect",
        _RULES,
        "A key counts as having an effect if it matches any path, even where other keys equal all of these paths: "
        "Keras takes those, and the pattern decides nothing.",
        "Take the result of `deciding_rules`: a key without effect is in none of its lists.",
        "clinic#Read the pattern",
    ),
    Mistake(
        "conflict_is_no_effect",
        _RULES,
        'A key counts as "rule without effect" if Keras finds it only together with others. Such a key has an effect: '
        "Keras refuses the model.",
        'Leave the keys of "two rules" out of "rule without effect".',
        "clinic#Read the pattern",
    ),
)
CAUSES = (
    Mistake(
        "one_head_alone",
        _SPECS,
        "Key and value may be replicated only if the model has one head for them. What counts is whether the axis "
        '"model" divides their heads: four heads cannot be split over eight devices.',
        'If the axis does not divide the heads, the right spec of key and value has no axis: see "One head on eight '
        'cores".',
        "clinic#One head on eight cores",
    ),
    Mistake(
        "key_value_always_split",
        _SPECS,
        "Key and value count as replicated by mistake even where the axis does not divide their heads.",
        'If the axis does not divide the heads, the right spec of key and value has no axis: see "One head on eight '
        'cores".',
        "clinic#One head on eight cores",
    ),
    Mistake(
        "second_gating_ignored",
        _SPECS,
        "`ffw_gating_2` is not examined: it is a matrix of its own.",
        "Compare the complete names of layers with the table of the lesson.",
        "clinic#Where to look",
    ),
    Mistake(
        "scales_as_matrices",
        _SPECS,
        "Scales that no rule splits count as replicated matrices. They are to be replicated.",
        "Only variables for which the table of the lesson has an axis are missed by a layout.",
        "clinic#Where to look",
    ),
    Mistake(
        "split_scales_ignored",
        _SPECS,
        "A scale that a rule splits is not named, though each device needs all of it.",
        'A scale with any axis belongs to "costly dimension".',
        "clinic#Where to look",
    ),
    Mistake(
        "all_devices",
        _SPECS,
        'The dimensions are divided by the number of all devices. A spec with "model" divides by the size of this '
        "axis.",
        "Look up the size of the axis in the mesh.",
        "clinic#One head on eight cores",
    ),
    Mistake(
        "long_specs_ignored",
        _SPECS,
        "A spec with more entries than the variable has dimensions is not named. Keras cannot build such a model.",
        "Compare the lengths of spec and shape before the sizes.",
        "clinic#Read the pattern",
    ),
    Mistake(
        "division_ignored",
        _SPECS,
        "A dimension that the axis does not divide is not named. Keras cannot build such a model.",
        "Divide each dimension by the size of the axis that splits it.",
        "clinic#One head on eight cores",
    ),
    Mistake(
        "unfit_named_twice",
        _SPECS,
        'A variable whose spec does not fit is named under "costly dimension" too.',
        "What does not fit is in no other list: the model does not exist yet.",
        "clinic#Where to look",
    ),
    Mistake(
        "hidden_is_right",
        _SPECS,
        "The specs that the tutorial prints count as right: they split the hidden dimension of the feed-forward.",
        "Compare with the table of the lesson: intermediate units for the feed-forward.",
        "clinic#Where to look",
    ),
    Mistake(
        "adapters_skipped",
        _SPECS,
        "Adapters are not examined. Keras cannot build a model whose adapters a spec does not fit.",
        "Skip adapters only after you have compared their specs with their shapes.",
        "clinic#Read the pattern",
    ),
    Mistake(
        "adapters_judged",
        _SPECS,
        "Adapters count as matrices that a layout should split.",
        "An adapter has the name of its layer and another end, `lora_kernel_a` or `lora_kernel_b`.",
        "clinic#Read the pattern",
    ),
)
MOMENTS = (
    Mistake(
        "specs_as_text",
        _MOMENTS,
        "The specs are compared as they are written. Specs that are written differently can place the same shards.",
        "Compare shardings with `is_equivalent_to`, which takes the number of dimensions.",
        "clinic#Moments that were moved",
    ),
    Mistake(
        "first_moment_only",
        _MOMENTS,
        "Only the first of the two moments is examined.",
        "A variable is named if any of its moments is placed in another way.",
        "clinic#Moments that were moved",
    ),
    Mistake(
        "both_must_differ",
        _MOMENTS,
        "A variable is named only if both of its moments are misplaced.",
        "A variable is named if any of its moments is placed in another way.",
        "clinic#Moments that were moved",
    ),
    Mistake(
        "frozen_ignored",
        _MOMENTS,
        "Moments of variables that are not trained are not named: `fit` raises an error for such an optimizer.",
        "Compare the paths of the moments with those of the trained variables, in both directions.",
        "clinic#Moments that were moved",
    ),
    Mistake(
        "missing_ignored",
        _MOMENTS,
        "Trained variables without moments are not named: `fit` raises an error for such an optimizer.",
        "Compare the paths of the moments with those of the trained variables, in both directions.",
        "clinic#Moments that were moved",
    ),
)
_EXCLUSIVE = (
    {"search", "match"},
    {"exact_not_first", "first_rule"},
    {"one_head_alone", "key_value_always_split"},
    {"matching_is_effect", "conflict_is_no_effect"},
    {"first_moment_only", "both_must_differ"},
    {"long_specs_ignored", "division_ignored", "unfit_named_twice"},
    {"all_devices", "division_ignored"},
    {"scales_as_matrices", "split_scales_ignored"},
    {"adapters_skipped", "adapters_judged"},
)


def deciding(patient: Patient, path: str, names: Names = RIGHT) -> list[str]:
    """The rules that Keras finds for a path, in their order."""
    if path in patient.rules and "exact_not_first" not in names:
        return [path]
    match: Callable[..., Any] = re.search if "search" in names else re.match if "match" in names else re.fullmatch
    found = [pattern for pattern in patient.rules if match(pattern, path)]
    return found[:1] if "first_rule" in names else found


def layout_diagnosis(patient: Patient, names: Names = RIGHT) -> Diagnosis:
    """The causes in a patient's layout map, each with the rules or paths that show it."""
    decided = {path: deciding(patient, path) for path in patient.shapes}
    used = {rule for rules in decided.values() for rule in rules}
    found = {cause: set[str]() for cause in (*OF_RULES, *OF_SPECS)}
    if "matching_is_effect" in names:
        used |= {rule for rule in patient.rules if any(re.fullmatch(rule, path) for path in patient.shapes)}
    if "conflict_is_no_effect" in names:
        used -= {rule for rule in used if all(len(rules) > 1 for rules in decided.values() if rule in rules)}
    found["rule without effect"] = set(patient.rules) - used
    found["two rules"] = {path for path, rules in decided.items() if len(rules) > 1}
    for path, rules in decided.items():
        if len(rules) < 2 and not ("second_gating_ignored" in names and "ffw_gating_2" in path):
            spec = patient.rules[rules[0]] if rules else ()
            for cause in _causes(patient, path, spec, names):
                found[cause].add(path)
    return {cause: paths for cause, paths in found.items() if paths}


def _causes(patient: Patient, path: str, spec: tuple[str | None, ...], names: Names) -> list[str]:
    """What is wrong with the spec of one variable."""
    if "adapters_skipped" in names and "/lora_" in path:
        return []
    shape = patient.shapes[path]
    sizes = {"batch": patient.mesh[0], "model": patient.mesh[1]}
    if "all_devices" in names:
        sizes["model"] = patient.mesh[0] * patient.mesh[1]
    too_long = len(spec) > len(shape)
    indivisible = any(axis and size % sizes[axis] for size, axis in zip(shape, spec, strict=False))
    unfit = (too_long and "long_specs_ignored" not in names) or (indivisible and "division_ignored" not in names)
    causes = ["does not fit"] if unfit else []
    if unfit and "unfit_named_twice" not in names:
        return causes
    right = _right_spec(patient, path, names)
    axes = tuple(axis for axis in spec)[: len(shape)] + (None,) * (len(shape) - len(spec))
    if right is None or axes == right:
        return causes
    if not any(axes):
        return [*causes, "replicated"]
    return [*causes, "costly dimension"]


def _right_spec(patient: Patient, path: str, names: Names) -> tuple[str | None, ...] | None:
    """The spec that costs least; None for an adapter, which is not judged."""
    shape = patient.shapes[path]
    if "/lora_" in path:
        adapter = "adapters_judged" in names and path.endswith("_a")
        return ("model", *[None] * (len(shape) - 1)) if adapter else None
    kind = tensor_parallel.kind_of(path)
    if kind is None:
        if "scales_as_matrices" in names:
            return ("model",)
        return None if "split_scales_ignored" in names else (None,)
    table = tensor_parallel.expected_layout(patient.sizes, patient.mesh[1])
    one_head = patient.sizes["num_key_value_heads"] == 1
    if "key_value_always_split" in names or ("one_head_alone" in names and not one_head):
        table = tensor_parallel.TENSOR_PARALLEL
    right = table[kind]
    return right[::-1] if "hidden_is_right" in names and "ffw" in kind else right


def moments_diagnosis(patient: MomentsPatient, names: Names = RIGHT) -> Diagnosis:
    """The causes in an optimizer's moments, each with the paths of variables that show it."""
    found = {cause: set[str]() for cause in OF_MOMENTS}
    for path, (shape, spec) in patient.trained.items():
        moments = patient.moments.get(path, ())
        wrong = [not _same_place(patient, shape, spec, moment[1], names) for moment in moments]
        if "first_moment_only" in names:
            wrong = wrong[:1]
        if wrong and (all(wrong) if "both_must_differ" in names else any(wrong)):
            found["placed unlike its variable"].add(path)
    if "frozen_ignored" not in names:
        found["of a frozen variable"] = patient.moments.keys() - patient.trained.keys()
    if "missing_ignored" not in names:
        found["without moments"] = patient.trained.keys() - patient.moments.keys()
    return {cause: paths for cause, paths in found.items() if paths}


def _same_place(
    patient: MomentsPatient,
    shape: tuple[int, ...],
    spec: tuple[str | None, ...],
    other: tuple[str | None, ...] | None,
    names: Names,
) -> bool:
    if other is None or "specs_as_text" in names:
        return spec == other
    sizes = {"batch": patient.mesh[0], "model": patient.mesh[1]}

    def splits(axes: tuple[str | None, ...]) -> tuple[str | None, ...]:
        split = [axis if axis and sizes[axis] > 1 else None for axis in axes]
        return (*split, *[None] * (len(shape) - len(split)))

    return splits(spec) == splits(other)


def _counts(diagnose: Callable[[Any, Names], Mapping[str, Any]], made: list[Any], names: Names) -> Values:
    return {
        f"patient {number}: {cause}": len(found)
        for number, patient in enumerate(made, 1)
        for cause, found in diagnose(patient, names).items()
    }


def _matched(patient: Patient, names: Names) -> dict[str, list[str]]:
    """The paths of each rule."""
    found: dict[str, list[str]] = {f"paths of {rule}": [] for rule in patient.rules}
    for path in patient.shapes:
        for rule in deciding(patient, path, names):
            found[f"paths of {rule}"].append(path)
    return found


def _table(
    mistakes: tuple[Mistake, ...],
    diagnose: Callable[[Any, Names], Mapping[str, Any]],
    made: Callable[[], list[Any]],
) -> MistakeTable:
    return MistakeTable(mistakes, lambda names: _counts(diagnose, made(), names), relative=0, exclusive=_EXCLUSIVE)


def matching_table() -> MistakeTable:
    """The mistakes that the check ``rules`` recognises: how many paths each rule has."""
    return _table(MATCHING, _matched, _patients)


def effects_table() -> MistakeTable:
    """The mistakes in causes that the rules alone show, recognised by how many names each has."""
    return _table(EFFECTS, lambda patient, names: _every(layout_diagnosis(patient, names), OF_RULES), _patients)


def causes_table() -> MistakeTable:
    """The mistakes that the check ``causes`` recognises: how many names each cause has."""
    return _table(CAUSES, lambda patient, names: _every(layout_diagnosis(patient, names), OF_SPECS), _patients)


def moments_table() -> MistakeTable:
    """The mistakes that the check ``moments`` recognises: how many names each cause has."""
    return _table(MOMENTS, lambda patient, names: _every(moments_diagnosis(patient, names), OF_MOMENTS), _moments)


def _every(diagnosis: Diagnosis, causes: tuple[str, ...]) -> Diagnosis:
    return {cause: diagnosis.get(cause, set()) for cause in causes}


@functools.cache
def _patients() -> list[Patient]:
    return patients()


@functools.cache
def _moments() -> list[MomentsPatient]:
    return moments_patients()


TABLES = {
    "rules": matching_table,
    "causes, by rules": effects_table,
    "causes": causes_table,
    "moments": moments_table,
}
