"""Checks of a layout map: what its rules match, and how much it leaves replicated."""

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from kit.checks.diagnosis import Failed
from kit.checks.failure import raises_check_failed
from kit.checks.tables import Row, Sized, grouped, limited
from kit.formatting import format_bytes, format_tuple

if TYPE_CHECKING:
    import keras

    from kit.evidence.rule_coverage import RuleCoverage, RuleMatch
    from kit.models.weightless import VariableInfo

    #: A built model or layer, with or without weights; its variables; or their descriptions.
    ModelOrVariables: TypeAlias = keras.layers.Layer | Sequence[keras.Variable] | Sequence[VariableInfo]


@raises_check_failed
def check_layout_coverage(layout_map: "keras.distribution.LayoutMap", model_or_variables: "ModelOrVariables") -> None:
    """Check that each rule matches a variable, no two match the same one, and each spec fits.

    The diagnostic also lists the variables that no rule matches. They are no failure here: see
    :func:`check_replicated_bytes`.

    Args:
        layout_map: With its device mesh.
        model_or_variables: A built model or layer, with or without weights; a list of its
            variables; or a list of their descriptions
            (:class:`kit.models.weightless.VariableInfo`).

    Raises:
        CheckFailed: NOTHING_TO_CHECK (no rule or no variable), LAYOUT_RULE_MATCHES_NOTHING,
            LAYOUT_RULES_OVERLAP, LAYOUT_SPEC_DOES_NOT_FIT (more entries than dimensions, or an axis
            twice), LAYOUT_AXIS_DOES_NOT_DIVIDE. The table shows all mistakes; the code is that of
            the first.
    """
    coverage, _ = cover(layout_map, model_or_variables)
    judge_rules(coverage, layout_map, every_rule_matches=True)


@raises_check_failed
def check_replicated_bytes(
    layout_map: "keras.distribution.LayoutMap", model_or_variables: "ModelOrVariables", share: float = 0.01
) -> None:
    """Check that the layout map leaves at most ``share`` of the model's bytes replicated.

    The check judges the sum. Each feed-forward matrix of Gemma 7B is less than 1 % of the model,
    but a rule that misses them all leaves 25 % replicated. Norms and biases are far below 1 % of
    any model that is worth sharding. LoRA's matrices are best replicated, and may be more than 1 %
    of a small model.

    Args:
        layout_map: With its device mesh of at least two devices.
        model_or_variables: See :func:`check_layout_coverage`.
        share: Of the model's bytes; at least 0 and below 1.

    Raises:
        CheckFailed: NOTHING_TO_CHECK (no rule, no variable, or a single device),
            LAYOUT_MATRIX_REPLICATED.
    """
    require_share(share)
    coverage, variables = cover(layout_map, model_or_variables)
    devices = math.prod(layout_map.device_mesh.shape)
    if devices < 2:
        raise Failed("NOTHING_TO_CHECK", "The mesh has a single device, so that nothing can be sharded.")
    judge_replicated(
        coverage.replicated,
        sum(variable.nbytes for variable in variables),
        share,
        devices,
        "Add or widen a rule: shard the variables in the table over an axis with more than one device.",
        {path: rule.pattern for rule in coverage.rules for path in rule.paths},
    )


def require_share(share: float) -> None:
    """Raises ValueError for what is no share of the model's bytes: at least 0 and below 1."""
    if not 0 <= share < 1:
        raise ValueError(f"share must be at least 0 and below 1, not {share}")


def cover(
    layout_map: "keras.distribution.LayoutMap", model_or_variables: "ModelOrVariables"
) -> "tuple[RuleCoverage, list[VariableInfo]]":
    """What each rule matches, and the described variables.

    Raises ``Failed`` with NOTHING_TO_CHECK if there is no variable or no rule.
    """
    from kit.evidence.rule_coverage import rule_coverage

    variables = _described(model_or_variables)
    if not variables:
        raise Failed(
            "NOTHING_TO_CHECK",
            "The model has no variables.",
            remedy=f"{CALL_IT} Or pass its variables to the check.",
        )
    if not len(layout_map):
        raise Failed(
            "NOTHING_TO_CHECK",
            f"The layout map has no rule for the {len(variables)} variables.",
            remedy='Add rules: layout_map[".*query/kernel"] = (None, "model", None).',
        )
    return rule_coverage(layout_map, variables), variables


#: Also for a subclassed model, which `build` alone does not build.
CALL_IT = "Build the model first: give it an Input, or call it on a batch once."


def _described(model_or_variables: "ModelOrVariables") -> "list[VariableInfo]":
    from kit.models.weightless import DescribedModel, VariableInfo, describe, describe_model

    if isinstance(model_or_variables, DescribedModel):
        return model_or_variables
    if hasattr(model_or_variables, "variables"):
        return describe_model(model_or_variables)
    variables: Sequence[Any] = model_or_variables
    return [variable if isinstance(variable, VariableInfo) else describe([variable])[0] for variable in variables]


class _Problem(NamedTuple):
    """What is wrong with a rule."""

    code: str
    cause: str
    remedy: str
    #: For the table.
    in_brief: str


def judge_rules(
    coverage: "RuleCoverage", layout_map: "keras.distribution.LayoutMap", *, every_rule_matches: bool
) -> None:
    """Raise ``Failed`` with all rules if one of them is wrong, or matches nothing if each must."""
    problems = {rule.pattern: _problem(rule, coverage, every_rule_matches) for rule in coverage.rules}
    found = [problem for problem in problems.values() if problem is not None]
    if not found:
        return
    rows: list[Row] = []
    for rule in coverage.rules:
        problem = problems[rule.pattern]
        of_outputs = f"outputs of {len(rule.outputs)} layers" if len(rule.outputs) > 1 else "output of a layer"
        in_brief = problem.in_brief if problem else of_outputs if rule.outputs else ""
        rows.append((rule.pattern, format_tuple(rule.spec), len(rule.paths), format_bytes(rule.nbytes), in_brief))
    rows += [
        (group.label, f"shape {format_tuple(group.shape)}", group.count, format_bytes(group.nbytes), "no rule")
        for group in grouped(coverage.unmatched)
    ]
    first, more = found[0], len(found) - 1
    others = f" {more} more rule{'s are' if more > 1 else ' is'} wrong: see the table." if more else ""
    raise Failed(
        first.code,
        f"{first.cause} The mesh is {format_tuple(layout_map.device_mesh.shape)}.{others}",
        ("rule, or variable without one", "spec or shape", "variables", "bytes", ""),
        limited(rows),
        first.remedy,
    )


def _problem(rule: "RuleMatch", coverage: "RuleCoverage", every_rule_matches: bool) -> _Problem | None:
    overlaps = [(path, patterns) for path, patterns in coverage.overlaps if rule.pattern in patterns]
    if overlaps:
        path, patterns = overlaps[0]
        others = " and ".join(repr(pattern) for pattern in patterns if pattern != rule.pattern)
        return _Problem(
            "LAYOUT_RULES_OVERLAP",
            f"The rule {rule.pattern!r} and the rule {others} both match {path}.",
            "Make the rules exclude each other: Keras refuses a path that two of them match.",
            f"{len(overlaps)} matched by another rule too",
        )
    if rule.paths:
        return _misfit(rule, coverage) or _indivisible(rule, coverage)
    if rule.outputs or not every_rule_matches:
        return None
    if rule.pattern.endswith("output"):
        return _dead_output(rule, coverage)
    return _Problem(
        "LAYOUT_RULE_MATCHES_NOTHING",
        f"The rule {rule.pattern!r} matches no variable.",
        _renumbered(rule.pattern, coverage)
        or "Compare the rule with the paths that have no rule: since Keras 3.14 it must match the whole path "
        "(re.fullmatch).",
        "matches nothing",
    )


def _dead_output(rule: "RuleMatch", coverage: "RuleCoverage") -> _Problem | None:
    """A rule for an output that no layer has; None if the layers are not known."""
    if coverage.layers is None:
        return None
    paths = [f"{layer}/output" for layer in coverage.layers]
    near = difflib.get_close_matches(rule.pattern, paths, 3, 0.0)
    return _Problem(
        "LAYOUT_RULE_MATCHES_NOTHING",
        f"The rule {rule.pattern!r} matches no variable, and the output of none of the {len(paths)} layers.",
        f"A rule for an output must match the whole path of the layer and /output: here {', '.join(near)}.",
        "matches no output",
    )


_NUMBER = re.compile(r"_(\d+|\\d[+*]?)(?=/|$)")


def _renumbered(pattern: str, coverage: "RuleCoverage") -> str:
    """The remedy if the rule would match with another number of an unnamed layer; else empty."""
    try:
        without = re.compile(_NUMBER.sub("", pattern))
    except re.error:
        return ""
    for variable in coverage.unmatched:
        if without.fullmatch(_NUMBER.sub("", variable.path)):
            return (
                f"The model has {variable.path}. Keras numbers unnamed layers on within a process, so that their paths "
                "depend on what was built before: give the layers names."
            )
    return ""


def _misfit(rule: "RuleMatch", coverage: "RuleCoverage") -> _Problem | None:
    """More entries than dimensions, or an axis twice."""
    found = next((misfit for misfit in coverage.misfits if misfit.path in rule.paths), None)
    if found is None:
        return None
    entries, dimensions = len(found.spec), len(found.shape)
    if entries > dimensions:
        cause = f"The rule {rule.pattern!r} has {entries} entries, but {found.path} has {dimensions} dimensions."
        in_brief = f"{entries} entries for {dimensions} dimensions"
    else:
        cause = f"The rule {rule.pattern!r} shards two dimensions of {found.path} over the same axis."
        in_brief = "an axis twice"
    remedy = "Give one entry, an axis or None, for each dimension of the variable, and use each axis once."
    return _Problem("LAYOUT_SPEC_DOES_NOT_FIT", cause, remedy, in_brief)


def _indivisible(rule: "RuleMatch", coverage: "RuleCoverage") -> _Problem | None:
    found = next((uneven for uneven in coverage.indivisible if uneven.path in rule.paths), None)
    if found is None:
        return None
    size = found.shape[found.dimension]
    return _Problem(
        "LAYOUT_AXIS_DOES_NOT_DIVIDE",
        f'The axis "{found.axis}" has {found.axis_size} devices, which do not divide the {size} entries of dimension '
        f"{found.dimension} of {found.path}, shape {format_tuple(found.shape)}.",
        "Shard a dimension that the axis divides, or choose another mesh.",
        f"{found.axis_size} does not divide {size}",
    )


def judge_replicated(
    replicated: Sequence[Sized],
    nbytes: int,
    share: float,
    devices: int,
    remedy: str,
    rules: Mapping[str, str] | None = None,
) -> None:
    """Raise ``Failed`` if replicated variables are more than ``share`` of a model.

    ``nbytes`` are those of the model, and ``devices`` how many hold the variables. Where a layout
    map is judged, ``rules`` has for each path the rule that matches it.
    """
    held = sum(variable.nbytes for variable in replicated)
    if held <= share * nbytes:
        return
    rows = [
        (
            group.label,
            group.count,
            format_tuple(group.shape),
            format_bytes(group.nbytes),
            f"{group.nbytes / nbytes:.2%}",
        )
        for group in grouped(replicated)
    ]
    matching = dict.fromkeys(repr(rules[variable.path]) for variable in replicated if rules and variable.path in rules)
    by_rule = f" These rules shard nothing: {', '.join(matching)}." if matching else ""
    raise Failed(
        "LAYOUT_MATRIX_REPLICATED",
        f"{format_bytes(held)} of the model's {format_bytes(nbytes)} are replicated on each of {devices} devices: "
        f"{held / nbytes:.2%}, and {share:.2%} is allowed.{by_rule}",
        ("replicated", "variables", "shape", "bytes", "share"),
        limited(rows),
        remedy,
    )
