"""The rule coverage of a run's layout map: as a table, and as ``run.json`` has it."""

from collections.abc import Mapping
from typing import Any

import keras

from kit.evidence.rule_coverage import RuleCoverage, rule_coverage
from kit.formatting import format_bytes, format_tuple
from kit.models.weightless import weightless_variables
from kit.narrator import Narrator
from kit.run.result import CoverageCount, LoadedBytes, ReplicatedVariable, RuleCount


def coverage_with_and_without_adapters(
    layout_map: keras.distribution.LayoutMap, config: Mapping[str, Any], rank: int, dtype: str
) -> tuple[RuleCoverage, RuleCoverage]:
    """Rule coverage of a preset with adapters and without: a rule may match only adapters.

    ``config`` is the content of the preset's ``config.json``, ``rank`` 0 is without LoRA.
    """
    tuned, loaded = (rule_coverage(layout_map, weightless_variables(config, each, dtype=dtype)) for each in (rank, 0))
    return tuned, loaded


def report_coverage(tuned: RuleCoverage, loaded: RuleCoverage, narrator: Narrator) -> None:
    """Print what each rule matches, and what each device will hold."""
    rows = [
        (rule.pattern, format_tuple(rule.spec), str(len(rule.paths)), format_bytes(rule.nbytes)) for rule in tuned.rules
    ]
    rows.append(("(no rule: replicated)", "", str(len(tuned.unmatched)), format_bytes(tuned.nbytes_unmatched)))
    narrator.table(("rule", "spec", "variables", "bytes"), rows)
    sentence = f"each device will hold {format_bytes(loaded.nbytes_per_device)} of {format_bytes(loaded.nbytes)}"
    if adapters := tuned.nbytes_per_device - loaded.nbytes_per_device:
        sentence += f", and {format_bytes(adapters)} of {format_bytes(tuned.nbytes - loaded.nbytes)} that LoRA adds"
    narrator.say(sentence)
    for rule in tuned.rules:
        if rule.idle:
            narrator.say(f"warning: the rule {rule.pattern} matches nothing")


def coverage_count(tuned: RuleCoverage, loaded: RuleCoverage) -> CoverageCount:
    """The coverage as ``run.json`` has it."""
    return CoverageCount(
        rules=tuple(RuleCount(rule.pattern, rule.spec, len(rule.paths), rule.nbytes) for rule in tuned.rules),
        unmatched=tuple(variable.path for variable in tuned.unmatched),
        nbytes_unmatched=tuned.nbytes_unmatched,
        replicated=tuple(ReplicatedVariable(variable.path, variable.nbytes) for variable in tuned.replicated),
        nbytes=tuned.nbytes,
        nbytes_per_device=tuned.nbytes_per_device,
        loaded=LoadedBytes(loaded.nbytes, loaded.nbytes_per_device),
    )
