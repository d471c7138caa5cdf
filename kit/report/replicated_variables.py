"""The variables that each device holds whole, by kind. Imports no framework."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from kit.report.sharded_variables import ITEM_SIZES, Variable
from kit.run.result import RunResult


@dataclass(frozen=True)
class ReplicatedKind:
    """Variables of one kind, for example one matrix of every decoder block."""

    #: A path with ``decoder_block_N`` for the blocks.
    kind: str
    variables: int
    #: Of all of them, each counted once; None if the run did not record it.
    nbytes: int | None


def replicated_kinds(result: RunResult, block: Sequence[Variable]) -> list[ReplicatedKind]:
    """The kinds of replicated variables, the largest first.

    A run without a list of replicated variables has a list of those that no rule matches. ``block``
    has variables whose sizes are known.
    """
    number: Counter[str] = Counter()
    nbytes: Counter[str] = Counter()
    unknown = set()
    if result.rule_coverage.replicated is not None:
        for variable in result.rule_coverage.replicated:
            kind = _kind(variable.path)
            number[kind] += 1
            nbytes[kind] += variable.nbytes
    else:
        known = _known_sizes(block, result.settings.rank)
        for kind in map(_kind, result.rule_coverage.unmatched):
            number[kind] += 1
            nbytes[kind] += known.get(kind, 0)
        unknown = number.keys() - known.keys()
        if len(unknown) == 1:
            # The run recorded the sum, so one kind is what the others leave.
            nbytes[unknown.pop()] = result.rule_coverage.nbytes_unmatched - nbytes.total()
    found = [ReplicatedKind(kind, count, None if kind in unknown else nbytes[kind]) for kind, count in number.items()]
    return sorted(found, key=lambda row: -math.inf if row.nbytes is None else -row.nbytes)


def _known_sizes(block: Sequence[Variable], rank: int) -> dict[str, int]:
    """Bytes of one variable of each kind, adapters included."""
    sizes = {_kind(variable.path): variable.nbytes for variable in block}
    for variable in block:
        name = _kind(variable.path).removesuffix("/kernel")
        # Keras gives an einsum's A the kernel's shape with the rank as its last dimension; both are
        # float32.
        sizes[f"{name}/lora_kernel_a"] = math.prod(variable.shape[:-1]) * rank * ITEM_SIZES["float32"]
        sizes[f"{name}/lora_kernel_b"] = rank * variable.shape[-1] * ITEM_SIZES["float32"]
    return sizes


def _kind(path: str) -> str:
    return re.sub(r"^decoder_block_\d+/", "decoder_block_N/", path)
