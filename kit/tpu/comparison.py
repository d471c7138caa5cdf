"""Where two plans of one model differ."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from kit.formatting import format_tuple
from kit.tpu.plan import Plan


@dataclass(frozen=True)
class Difference:
    """One kind of layer in which two plans differ. Each pair is (first plan, second plan)."""

    layer_kind: str
    rules: tuple[str, str]
    #: Bytes of arguments on one device.
    held: tuple[int, int]
    #: Bytes of the collectives' results on one device.
    sent: tuple[int, int]
    #: Number of collectives by kind.
    counts: tuple[Mapping[str, int], Mapping[str, int]]

    @property
    def same_rule(self) -> bool:
        """Whether both plans shard these layers by the same rule."""
        return self.rules[0] == self.rules[1]

    @property
    def size(self) -> int:
        """Bytes by which the plans differ."""
        return abs(self.held[0] - self.held[1]) + abs(self.sent[0] - self.sent[1])


def compare(first: Plan, second: Plan) -> tuple[Difference, ...]:
    """The kinds of layers that differ in two plans of one model, those with other rules first."""
    before, after = _by_layer(first), _by_layer(second)
    kinds = dict.fromkeys(kind for side in (before, after) for kind in (*side.held, *side.sent))
    found = [
        Difference(
            kind,
            (before.rules.get(kind, "no rule"), after.rules.get(kind, "no rule")),
            (before.held.get(kind, 0), after.held.get(kind, 0)),
            (before.sent.get(kind, 0), after.sent.get(kind, 0)),
            (dict(before.counts.get(kind, {})), dict(after.counts.get(kind, {}))),
        )
        for kind in kinds
    ]
    # Other differences follow from those of the rules.
    return tuple(sorted((entry for entry in found if entry.size), key=lambda entry: (entry.same_rule, -entry.size)))


@dataclass(frozen=True)
class _ByLayer:
    """A plan by kind of layer: rule, bytes held and sent, and collectives by kind."""

    rules: dict[str, str]
    held: dict[str, int]
    sent: dict[str, int]
    counts: dict[str, dict[str, int]]


def _by_layer(plan: Plan) -> _ByLayer:
    found = _ByLayer({}, defaultdict(int), defaultdict(int), defaultdict(lambda: defaultdict(int)))
    for rule in plan.coverage.rules:
        for path in rule.paths:
            kind = plan.kinds(path.rpartition("/")[0])
            found.rules[kind] = f"{rule.pattern} {format_tuple(rule.spec)}"
    for kind, _, nbytes in plan.held:
        found.held[kind.removeprefix("optimizer: ").rpartition("/")[0] or kind] += nbytes
    for cause in plan.causes or ():
        kind = cause.layer_kind or "not traced"
        found.sent[kind] += cause.nbytes
        found.counts[kind][cause.kind] += cause.count
    return found
