"""What differs between two locks, as sentences about rules, bytes and collectives.

How a rule is written is no difference, nor is the order of the rules: what counts is how each
variable is sharded. Imports no framework.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from kit.formatting import format_bytes, format_count, format_tuple
from kit.lock.content import Collectives, Compiled, Lock, LockedRule, Spec, Variables

#: A smaller change of the peak, as a share of it, is no difference: the compiler schedules a
#: slightly different program differently.
PEAK_TOLERANCE = 0.01
#: Kinds of layers that a sentence names.
MOST_NAMED = 3
#: Sentences about variables of the model that came, went or changed in number.
MOST_OF_THE_MODEL = 8

#: Variables that can be compared between two models.
Key = tuple[str, tuple[int, ...]]


def differences(before: Lock, after: Lock) -> list[str]:
    """A sentence for each difference of the model, the rules, the memory and the collectives."""
    found = _of_mesh(before, after) + _of_model(before, after) + _of_rules(before, after)
    held, holds = before.state_nbytes_per_device, after.state_nbytes_per_device
    if held != holds:
        found.append(
            f"weights and optimizer state take {format_bytes(holds)} per device instead of {format_bytes(held)} "
            f"({_signed(holds - held)})"
        )
    return found + of_compiled(before.compiled, after.compiled)


def same_sharding(before: Lock, after: Lock) -> bool:
    """Whether both layout maps shard each variable and each output alike, on the same mesh."""
    return not _of_mesh(before, after) and not _of_rules(before, after)


def _of_mesh(before: Lock, after: Lock) -> list[str]:
    if before.axes == after.axes and before.batch_axis == after.batch_axis:
        return []
    return [f"the mesh is {_mesh(after)} instead of {_mesh(before)}"]


def _mesh(lock: Lock) -> str:
    axes = ", ".join(f"{axis} {size}" for axis, size in lock.axes.items())
    return f"({axes})"


def _of_model(before: Lock, after: Lock) -> list[str]:
    """What is different about the model, whatever its layout map."""
    found = []
    if before.parameters != after.parameters:
        found.append(
            f"the model has {format_count(after.parameters)} parameters instead of {format_count(before.parameters)}"
        )
    if before.trainable != after.trainable:
        found.append(
            f"{format_count(after.trainable)} parameters are trained instead of {format_count(before.trainable)}"
        )
    counts = [_counts(lock) for lock in (before, after)]
    changed = [key for key in dict.fromkeys([*counts[0], *counts[1]]) if counts[0][key] != counts[1][key]]
    for path, shape in changed[:MOST_OF_THE_MODEL]:
        was, now = (count[path, shape] for count in counts)
        found.append(f"the model has {now} instead of {was} of {path} {format_tuple(shape)}")
    if len(changed) > MOST_OF_THE_MODEL:
        found.append(f"and {len(changed) - MOST_OF_THE_MODEL} more kinds of variables differ in number")
    return found


def _counts(lock: Lock) -> Counter[Key]:
    found: Counter[Key] = Counter()
    for _, row in _placed(lock):
        found[row.path, row.shape] += row.count
    return found


def _placed(lock: Lock) -> list[tuple[LockedRule | None, Variables]]:
    """Each row of variables with its rule."""
    found: list[tuple[LockedRule | None, Variables]] = [(rule, row) for rule in lock.rules for row in rule.variables]
    return found + [(None, row) for row in lock.unmatched]


@dataclass
class _Move:
    """Variables that one rule sharded, and another rule shards now, or none."""

    keys: list[tuple[Key, int]] = field(default_factory=list)
    nbytes: int = 0


def _of_rules(before: Lock, after: Lock) -> list[str]:
    """Sentences about variables that are sharded in another way."""
    counts = [_counts(lock) for lock in (before, after)]
    places = [_places(lock) for lock in (before, after)]
    now_of = _aligned(before, after)
    moves: dict[tuple[int, int, Spec, Spec], _Move] = defaultdict(_Move)
    for key in places[0]:
        was, now = places[0][key], places[1].get(key, {})
        common = min(counts[0][key], counts[1][key])
        if not common:
            continue
        lost, won = _moved(was, now)
        for (number, spec, (other, other_spec)), count in _pair(lost, won, now_of):
            move = moves[number, other, spec, other_spec]
            move.keys.append((key, count))
            move.nbytes += count * (_each(after, key, other) - _each(before, key, number))
    sentences = [_sentence(before, after, *key, move, now_of) for key, move in moves.items()]
    return sentences + _of_outputs(before, after)


#: (position of the rule, from 1, or 0 without one; what it does) -> number of variables.
_Places = Mapping[tuple[int, Spec], int]


def _places(lock: Lock) -> dict[Key, dict[tuple[int, Spec], int]]:
    found: dict[Key, dict[tuple[int, Spec], int]] = defaultdict(lambda: defaultdict(int))
    numbers = {id(rule): number for number, rule in enumerate(lock.rules, 1)}
    for rule, row in _placed(lock):
        spec = _effective(rule.spec if rule else (), lock)
        found[row.path, row.shape][numbers[id(rule)] if rule else 0, spec] += row.count
    return found


def _effective(spec: Spec, lock: Lock) -> Spec:
    """The spec without axes of one device and without trailing None."""
    shown = [axis if axis is not None and lock.axes.get(axis, 1) > 1 else None for axis in spec]
    while shown and shown[-1] is None:
        shown.pop()
    return tuple(shown)


def _aligned(before: Lock, after: Lock) -> dict[int, int]:
    """For the number of each rule before, that of the same rule now; 0 if it is gone.

    The same rule has the same pattern, or else matches most of the same variables, or else has the
    same place among those that are left.
    """
    left, free = dict(enumerate(before.rules, 1)), dict(enumerate(after.rules, 1))
    found: dict[int, int] = {}

    def take(number: int, other: int) -> None:
        found[number] = other
        del left[number], free[other]

    for number, rule in list(left.items()):
        other = next((other for other, new in free.items() if new.pattern == rule.pattern), 0)
        if other:
            take(number, other)
    for number, rule in list(left.items()):
        shared = {other: _shared(rule, new) for other, new in free.items()}
        best = max(shared, key=lambda other: shared[other], default=0)
        if best and shared[best]:
            take(number, best)
    for number in list(left):
        if number in free:
            take(number, number)
    return found | dict.fromkeys(left, 0)


def _shared(rule: LockedRule, other: LockedRule) -> int:
    paths = {row.path for row in other.variables}
    return sum(row.count for row in rule.variables if row.path in paths)


def _moved(was: _Places, now: _Places) -> tuple[dict[tuple[int, Spec], int], dict[tuple[int, Spec], int]]:
    """Variables of one kind that have lost a sharding, and that have got one."""
    by_spec: list[Counter[Spec]] = [Counter(), Counter()]
    for counter, places in zip(by_spec, (was, now), strict=True):
        for (_, spec), count in places.items():
            counter[spec] += count
    excess = [by_spec[0] - by_spec[1], by_spec[1] - by_spec[0]]
    taken: list[dict[tuple[int, Spec], int]] = [{}, {}]
    for left, places, into in zip(excess, (was, now), taken, strict=True):
        for (number, spec), count in places.items():
            moved = min(count, left[spec])
            if moved:
                into[number, spec] = moved
                left[spec] -= moved
    return taken[0], taken[1]


def _pair(
    lost: dict[tuple[int, Spec], int], won: dict[tuple[int, Spec], int], now_of: Mapping[int, int]
) -> Iterable[tuple[tuple[int, Spec, tuple[int, Spec]], int]]:
    """Pairs of where variables were and where they are, those of the same rule first."""
    pairs = sorted(((old, new) for old in lost for new in won), key=lambda pair: now_of.get(pair[0][0]) != pair[1][0])
    for old, new in pairs:
        count = min(lost[old], won[new])
        if count:
            lost[old] -= count
            won[new] -= count
            yield (*old, new), count


def _each(lock: Lock, key: Key, number: int) -> int:
    """Bytes of one such variable and its moments on one device, under this rule."""
    rows = lock.rules[number - 1].variables if number else lock.unmatched
    return next((row.state_nbytes_per_device // row.count for row in rows if (row.path, row.shape) == key), 0)


def _sentence(
    before: Lock, after: Lock, was: int, now: int, spec: Spec, new_spec: Spec, move: _Move, now_of: Mapping[int, int]
) -> str:
    count = sum(number for _, number in move.keys)
    matrices = all(len(shape) > 1 for (_, shape), _ in move.keys)
    noun = ("matrix" if count == 1 else "matrices") if matrices else "variable" if count == 1 else "variables"
    paths = list(dict.fromkeys(path for (path, _), _ in move.keys))
    named = ", ".join(paths[:MOST_NAMED]) + (f" and {len(paths) - MOST_NAMED} more" if len(paths) > MOST_NAMED else "")
    more = f"{_signed(move.nbytes)} per device"
    dimensions = len(move.keys[0][0][1])
    old, new = _rule(before, was), _rule(after, now)
    if was and now_of.get(was) and before.rules[was - 1].pattern != after.rules[now_of[was] - 1].pattern:
        old += f" now `{after.rules[now_of[was] - 1].pattern}`,"
    if was and not now:
        gone = "is gone, which matched" if not now_of.get(was) else "matches"
        fewer = "" if not now_of.get(was) else " fewer"
        return f"{old} {gone} {count} {noun}{fewer} ({named}), now replicated: {more}"
    if now and not was:
        return f"{new} matches {count} {noun} more ({named}), until now replicated: {more}"
    if was and now_of.get(was) == now:
        shown = f"{_spec(new_spec, dimensions)} instead of {_spec(spec, dimensions)}"
        return f"{old} shards {count} {noun} as {shown} ({named}): {more}"
    shown = f"{_spec(new_spec, dimensions)} instead of {old} as {_spec(spec, dimensions)}"
    return f"{count} {noun} ({named}) are sharded by {new} as {shown}: {more}"


def _rule(lock: Lock, number: int) -> str:
    return f"rule {number}, `{lock.rules[number - 1].pattern}`," if number else "no rule"


def _spec(spec: Spec, dimensions: int = 0) -> str:
    return format_tuple(spec + (None,) * (dimensions - len(spec))) if spec else "replicated"


def _of_outputs(before: Lock, after: Lock) -> list[str]:
    """Layers whose outputs are sharded in another way."""
    sharded = [
        {layer: _effective(rule.spec, lock) for rule in lock.rules for layer in rule.outputs}
        for lock in (before, after)
    ]
    changed = [
        layer for layer in dict.fromkeys([*sharded[0], *sharded[1]]) if sharded[0].get(layer) != sharded[1].get(layer)
    ]
    return [
        f"outputs of {layer} are {_output(sharded[1].get(layer))} instead of {_output(sharded[0].get(layer))}"
        for layer in changed
    ]


def _output(spec: Spec | None) -> str:
    return "left to the compiler" if spec is None else f"sharded as {_spec(spec)}"


def of_compiled(before: Sequence[Compiled], after: Sequence[Compiled]) -> list[str]:
    """Sentences about fit, peak and collectives on the topologies that both have."""
    now = {compiled.topology: compiled for compiled in after}
    found: list[str] = []
    for old in before:
        new = now.get(old.topology)
        if new is None:
            continue
        if old.fits != new.fits:
            found.append(
                f"on {old.topology} the step {'fits' if new.fits else 'does not fit any more'}: peak "
                f"{format_bytes(new.peak)} instead of {format_bytes(old.peak)}, usable {format_bytes(new.usable)}"
            )
        elif abs(new.peak - old.peak) > PEAK_TOLERANCE * old.peak:
            found.append(
                f"on {old.topology} the peak is {format_bytes(new.peak)} instead of {format_bytes(old.peak)} "
                f"({_signed(new.peak - old.peak)} per device)"
            )
        if old.collectives is not None and new.collectives is not None:
            found += _of_collectives(old.topology, old.collectives, new.collectives)
    return found


def _of_collectives(topology: str, before: Sequence[Collectives], after: Sequence[Collectives]) -> list[str]:
    was, now = ({(row.layer, row.kind): row for row in rows} for rows in (before, after))
    changes: list[tuple[int, str]] = []
    for key in dict.fromkeys([*was, *now]):
        layer, kind = key
        none = Collectives(layer, kind, 0, 0)
        old, new = was.get(key, none), now.get(key, none)
        place = f", in {layer}" if layer else ", which cannot be traced to a layer"
        more = f"{_signed(new.nbytes - old.nbytes)} of results per device"
        count = abs(new.count - old.count)
        plural = f"{count} {kind}" if count == 1 else f"{count} {kind}s"
        if new.count != old.count:
            how = "new" if not old.count else "more" if new.count > old.count else "fewer"
            how = "gone" if not new.count else how
            changes.append((abs(new.nbytes - old.nbytes), f"{plural} per step {how}{place}: {more}"))
        elif new.nbytes != old.nbytes:
            text = f"the {new.count} {kind}{'' if new.count == 1 else 's'} per step{place} are of another size: {more}"
            changes.append((abs(new.nbytes - old.nbytes), text))
    changes.sort(key=lambda change: -change[0])
    return [f"on {topology}: {text}" for _, text in changes]


def _signed(nbytes: int) -> str:
    return f"{'-' if nbytes < 0 else '+'}{format_bytes(abs(nbytes))}"
