"""The variables that a report draws: embeddings and a decoder block. Imports no framework."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from kit.run.result import RuleCount, RunResult, ShardingRow, Spec, axes_of

EMBEDDINGS = "token_embedding/embeddings"
#: Bytes of an element of the weights, by their dtype.
ITEM_SIZES = {"float32": 4, "bfloat16": 2}

#: The mesh axes that one dimension is split over; none: it is not split.
Axes = tuple[str, ...]


@dataclass(frozen=True)
class Variable:
    """A variable and its sharding."""

    path: str
    shape: tuple[int, ...]
    #: An entry for each dimension.
    spec: tuple[Axes, ...]
    #: Of the whole variable, counted once.
    nbytes: int


def sharded_variables(result: RunResult) -> tuple[Variable, ...]:
    """The embeddings, if their shape is known, then the variables of decoder_block_1."""
    item_size = ITEM_SIZES[result.settings.weight_dtype]
    block = _variables(result.sharding_of_decoder_block_1, item_size)
    embeddings = _variables(result.sharding_of_token_embedding or (), item_size)
    return (embeddings or _embeddings_by_rule(result.rule_coverage.rules, block, item_size)) + block


def _variables(rows: Iterable[ShardingRow], item_size: int) -> tuple[Variable, ...]:
    return tuple(
        Variable(path, shape, _axes_of_dimensions(spec, len(shape)), math.prod(shape) * item_size)
        for path, shape, spec in rows
    )


def _embeddings_by_rule(
    rules: tuple[RuleCount, ...], block: tuple[Variable, ...], item_size: int
) -> tuple[Variable, ...]:
    """The embeddings of a run that did not record their shape, from the bytes of their rule.

    Their last dimension is the hidden width, which a block's scales have too; the first follows
    from the bytes.
    """
    exact = [rule for rule in rules if rule.pattern == EMBEDDINGS]
    matching = exact or [rule for rule in rules if re.fullmatch(rule.pattern, EMBEDDINGS)]
    widths = {variable.shape[0] for variable in block if variable.path.endswith("norm/scale")}
    if len(matching) != 1 or matching[0].variables != 1 or len(widths) != 1:
        return ()
    rule, width = matching[0], widths.pop()
    vocabulary, rest = divmod(rule.nbytes, width * item_size)
    if rest or len(rule.spec) > 2:
        return ()
    return (Variable(EMBEDDINGS, (vocabulary, width), _axes_of_dimensions(rule.spec, 2), rule.nbytes),)


def _axes_of_dimensions(spec: Spec, dimensions: int) -> tuple[Axes, ...]:
    """An entry for each dimension: those that a spec does not name are not split."""
    return tuple(map(axes_of, spec)) + ((),) * (dimensions - len(spec))
