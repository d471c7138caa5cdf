"""Layout maps of a solution as data, and their judgement: rule coverage and collectives."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from kit.checks.diagnosis import Failed
from kit.course.shared import tensor_parallel as oracle
from kit.course.shared.layout_faults import Deviation, Layout, account, joined, meant_for, ranges, split_remedy
from kit.course.shared.meshes import MeshSeen, mesh_shapes, sharding_meshes
from kit.evidence.attribution import without_block_number
from kit.evidence.program import Collectives, collectives, compile_gradients
from kit.formatting import format_bytes
from kit.judge.observation import Outcome, returned
from kit.judge.submission import Submission
from kit.models.weightless import build_language_model, no_weights

#: What to try if the axis has more devices than there are heads.
_FEW_HEADS = (
    "There are fewer heads than devices on the axis. Compare the other layouts by the data that they exchange: see "
    '`kit lesson clinic "One head on eight cores"`.'
)
_BLOCK = re.compile(r"decoder_block_(\d+)")
#: Rows of a table for rules; a solution may have one for each path.
_ROWS = 8
#: Rules whose own share of the collectives is measured.
_MEASURED = 4


@dataclass(frozen=True)
class RuleSeen:
    """A rule of a layout map as data."""

    pattern: str
    #: Of a compiled regular expression; None if the key is text.
    flags: int | None
    spec: tuple[str | None, ...]
    #: The mesh of the rule's TensorLayout; None if it is the mesh of the layout map.
    mesh: MeshSeen | None


@dataclass(frozen=True)
class LayoutMapSeen:
    """A layout map as data."""

    #: In the order of the layout map.
    rules: tuple[RuleSeen, ...]
    #: Whether the layout map has the mesh that was given, and its mesh as text.
    has_given_mesh: bool
    mesh: str

    @classmethod
    def of(cls, layout_map: keras.distribution.LayoutMap, given: keras.distribution.DeviceMesh) -> "LayoutMapSeen":
        """Read a layout map that was made for the mesh ``given``."""
        rules = []
        for key, layout in layout_map.items():
            is_text = isinstance(key, str)
            rules.append(
                RuleSeen(
                    str(key if is_text else key.pattern),
                    None if is_text else int(key.flags),
                    tuple(None if axis is None else str(axis) for axis in layout.axes),
                    None if layout.device_mesh is layout_map.device_mesh else MeshSeen.of(layout.device_mesh),
                )
            )
        return cls(tuple(rules), layout_map.device_mesh is given, str(layout_map.device_mesh))

    def rebuilt(self, mesh: keras.distribution.DeviceMesh) -> keras.distribution.LayoutMap:
        """A layout map over this mesh with the rules that were read."""
        layout_map = keras.distribution.LayoutMap(mesh)
        for rule in self.rules:
            key = rule.pattern if rule.flags is None else re.compile(rule.pattern, rule.flags)
            layout_map[key] = keras.distribution.TensorLayout(rule.spec, rule.mesh.rebuilt() if rule.mesh else mesh)
        return layout_map


@dataclass(frozen=True)
class LayoutCall:
    """A call with a mesh of shape (batch, model), and its result."""

    batch: int
    model: int
    outcome: Outcome[LayoutMapSeen]

    @property
    def mesh(self) -> keras.distribution.DeviceMesh:
        """A mesh like the one that was given."""
        return oracle.device_mesh(self.batch, self.model)

    def layout_map(self, mesh: keras.distribution.DeviceMesh) -> keras.distribution.LayoutMap:
        """The layout map, rebuilt for this mesh.

        Raises Failed if the call failed, or if the layout map has another mesh than the one given.
        """
        seen = returned(self.outcome)
        if not seen.has_given_mesh:
            raise Failed(
                "NOT_AS_EXPECTED",
                "The layout map does not use the mesh that was given.",
                ("expected", "yours"),
                [(mesh, seen.mesh)],
                remedy="Pass the mesh to keras.distribution.LayoutMap.",
            )
        return seen.rebuilt(mesh)


def observe_layout_map(submission: Submission, function: str, batch: int, model: int) -> LayoutCall:
    """The layout map that a function of the solution returns for a mesh."""
    mesh = oracle.device_mesh(batch, model)
    outcome = submission.observe(
        function,
        mesh,
        reads=lambda layout_map: LayoutMapSeen.of(layout_map, mesh),
        returns=keras.distribution.LayoutMap,
    )
    return LayoutCall(batch, model, outcome)


def observe_layout_maps(submission: Submission, function: str) -> list[LayoutCall]:
    """The layout maps for all meshes that shard weights.

    Some have more rows than columns. One has half of the devices, if these shard weights.
    """
    shapes = mesh_shapes()
    half = (1, shapes[0][1] // 2)
    return [observe_layout_map(submission, function, *shape) for shape in (*shapes, half) if shape[1] > 1]


def judge_layout(calls: Sequence[LayoutCall], model: str, config: Mapping[str, Any], rank: int) -> None:
    """Compare the sharding of a model's variables with :func:`tensor_parallel.expected_layout`.

    ``config`` is the content of a preset's ``config.json``; with rank 0 there is no LoRA.
    """
    assert calls, "no layout map was asked for"
    for call in calls:
        layout = Layout.of(call.layout_map(call.mesh), model, config, rank)
        _judge_overlaps(layout)
        assert layout.to_be_sharded, f"{layout.where} has no matrix to shard"
        _judge_specs(layout)
        _judge_axes(layout)
        _judge_replicated(layout)
        _judge_dimensions(layout)
        _judge_bytes(layout)


def judge_collectives(calls: Sequence[LayoutCall]) -> None:
    """Compare the collectives of a small Gemma's gradients with those of tensor parallelism."""
    compiled = [call for call in calls if (call.batch, call.model) in sharding_meshes()]
    assert compiled, "no layout map was asked for"
    for call in compiled:
        layout_map = call.layout_map(call.mesh)
        yours = _collectives(layout_map)
        needed = _collectives(
            oracle.tensor_parallel_map(call.mesh, oracle.split_paths(oracle.SMALL_SIZES["num_layers"]))
        )
        assert needed.operations, "the compiled program has no collective: it was compiled for one device"
        if yours.nbytes <= needed.nbytes:
            continue
        layout = Layout.of(layout_map, "a small Gemma with LoRA", oracle.small_config(), rank=4)
        counts = yours.by_kind(), needed.by_kind()
        raise extra_collectives(
            f"On the mesh ({call.batch}, {call.model}) a training step of a small Gemma sends "
            f"{yours.nbytes / needed.nbytes:.2f} times as many bytes as necessary.",
            _costliest_first(layout, call.mesh, needed.nbytes),
            [
                (kind, *("{}, {:,} bytes".format(*count.get(kind, (0, 0))) for count in counts))
                for kind in sorted(counts[0] | counts[1])
            ],
            ranked=True,
        )


def extra_collectives(
    cause: str, deviations: Sequence[Deviation], rows: Sequence[tuple], ranked: bool = False
) -> Failed:
    """The diagnosis of a program that sends too much: only rules that deviate can be to blame.

    ``rows`` are what is sent, in total: name, yours, needed. ``ranked`` says that the deviations of
    the costliest rule are first.
    """
    headings = ("rule, or collective", "yours", "needed")
    if not deviations:
        cause += " Each rule shards what tensor parallelism shards, along the same dimensions."
        return Failed("LAYOUT_EXTRA_COLLECTIVES", cause, headings, rows, "Compare the collectives in the table.")
    first = deviations[0]
    blamed = [one for one in deviations if one.rule == first.rule]
    rules = list(dict.fromkeys(one.rule for one in deviations))
    remedy = " ".join(dict.fromkeys(_remedy(one) for one in (blamed if ranked else deviations)))
    if ranked or len(rules) == 1:
        cause += f" The cause is {first.rule}, which {_fault(blamed)}."
        others = len(rules) - 1
        cause += f" {others} more rule{'s' if others > 1 else ''} cost less: see the table." if others else ""
    else:
        cause += " The cause is among these: " + "; ".join(
            f"{rule}, which {_fault([one for one in deviations if one.rule == rule])}" for rule in rules[:3]
        )
        cause += "." if len(rules) < 4 else f"; and {len(rules) - 3} more."
    table = [(f"{one.rule}: {one.name}", one.spec or "no rule", one.expected) for one in [*blamed, *deviations]]
    return Failed("LAYOUT_EXTRA_COLLECTIVES", cause, headings, [*list(dict.fromkeys(table))[:_ROWS], *rows], remedy)


def _fault(deviations: Sequence[Deviation]) -> str:
    """What a rule does with these variables, or what the lack of one does."""
    shown = joined([one.shown for one in deviations[:3]]) + (", …" if len(deviations) > 3 else "")
    first = deviations[0]
    if first.replicated:
        return f"leaves {shown} replicated"
    if first.to_be_sharded:
        return f"splits {shown} along another dimension than tensor parallelism"
    if "/lora_kernel_a" in first.paths[0]:
        return f"splits {shown} along another dimension than the heads"
    return f"splits {shown}, which each device needs in full"


def _remedy(deviation: Deviation) -> str:
    kind = oracle.kind_of(deviation.paths[0])
    if kind and deviation.to_be_sharded:
        return split_remedy([kind])
    if "/lora_kernel_a" in deviation.paths[0]:
        return "Split lora_kernel_a by heads, like its kernel, or not at all."
    return "Let no rule match what each device needs in full: what is small stays replicated."


def _costliest_first(layout: Layout, mesh: keras.distribution.DeviceMesh, needed: int) -> list[Deviation]:
    """The deviations by what their rule alone costs, if all else is as expected.

    ``needed`` are the bytes that tensor parallelism sends.
    """
    by_rule: dict[int, list[Deviation]] = defaultdict(list)
    for one in layout.deviations:
        by_rule[one.number].append(one)
    if len(by_rule) < 2:
        return layout.deviations
    # The first ones, if there are many: each is a compilation.
    cost = {
        number: _collectives(_right_except(layout, mesh, by_rule[number])).nbytes - needed
        for number in list(by_rule)[:_MEASURED]
    }
    order = sorted(by_rule, key=lambda number: -cost.get(number, -math.inf))
    return [one for number in order for one in by_rule[number]]


def _right_except(
    layout: Layout, mesh: keras.distribution.DeviceMesh, deviations: Sequence[Deviation]
) -> keras.distribution.LayoutMap:
    """Tensor parallelism by exact paths, with these deviations from it."""
    yours = {path: one.spec for one in deviations for path in one.paths}
    made = keras.distribution.LayoutMap(mesh)
    for path in layout.by_path:
        spec = yours.get(path, layout.allowed(path)[0])
        if any(spec):
            made[path] = spec
    return made


def _collectives(layout_map: keras.distribution.LayoutMap) -> Collectives:
    distribution = oracle.model_parallel(layout_map)
    with no_weights():
        model = build_language_model(oracle.small_config())
        model.backbone.enable_lora(4, target_layer_names=["query", "value"])
        with distribution.scope():
            return collectives(compile_gradients(model, distribution, batch_size=8, sequence_length=24).as_text())


def _judge_overlaps(layout: Layout) -> None:
    overlaps = layout.coverage.overlaps
    if overlaps:
        cause = f"More than one rule matches {_number(len(overlaps), 'variable')} of {layout.where}."
        rows = [(path, "  and  ".join(map(str, patterns))) for path, patterns in overlaps[:6]]
        raise Failed("LAYOUT_RULES_OVERLAP", cause, ("variable", "rules"), rows)


def _judge_specs(layout: Layout) -> None:
    """A spec has no more entries than the shape, each axis once, and each divides its dimension."""
    found = [(path, layout.by_path[path].shape, pattern, spec) for path, (_, pattern, spec) in layout.rules.items()]
    too_long = [row for row in found if len(row[3]) != len(row[1])]
    twice = [row for row in found if max(Counter(filter(None, row[3])).values(), default=0) > 1]
    uneven = {one.path: one for one in layout.coverage.indivisible}
    indivisible = [row for row in found if row[0] in uneven]
    for rows, code in (
        (too_long, "LAYOUT_SPEC_DOES_NOT_FIT"),
        (twice, "LAYOUT_SPEC_DOES_NOT_FIT"),
        (indivisible, "LAYOUT_AXIS_DOES_NOT_DIVIDE"),
    ):
        if not rows:
            continue
        paths, number = [path for path, *_ in rows], _number(len(rows), "variable")
        if rows is indivisible:
            first = uneven[paths[0]]
            dimensions = _indivisible_dimensions(layout, paths) or f"a dimension of {number}"
            cause = f'The {first.axis_size} devices of the axis "{first.axis}" do not divide {dimensions}'
        else:
            cause = f"A spec has {'too many entries' if rows is too_long else 'the same axis twice'} for {number}"
        remedy = _dimension_remedy(layout, paths) if rows is indivisible else ""
        if all("/lora_" in path for path in paths):
            code, remedy = "LAYOUT_CATCHES_ADAPTERS", _adapter_remedy(paths)
            cause = f"A rule matches adapters that its spec does not fit: {cause[0].lower()}{cause[1:]}"
        raise Failed(
            code,
            f"{cause} of {layout.where}.",
            ("variable", "shape", "your rule", "your spec"),
            rows[:6],
            remedy,
        )


def _indivisible_dimensions(layout: Layout, paths: Sequence[str]) -> str:
    """The dimensions by name, such as "head_dim of attention/query/kernel"; empty without names."""
    uneven = {one.path: one for one in layout.coverage.indivisible}
    if not all(path in layout.kinds for path in paths):
        return ""
    kinds = {layout.kinds[path]: uneven[path].dimension for path in paths}
    return joined([f"{oracle.DIMENSIONS[kind][dimension]} of {kind}" for kind, dimension in kinds.items()])


def _adapter_remedy(paths: Sequence[str]) -> str:
    if any(path.endswith("_a") for path in paths):
        return "Let no rule match lora_kernel_a or lora_kernel_b: end the pattern for the kernels with /kernel."
    return (
        "Let no rule match lora_kernel_b, which has two dimensions and is small: end the pattern with /kernel, or with "
        "/(kernel|lora_kernel_a)."
    )


def _dimension_remedy(layout: Layout, paths: Sequence[str]) -> str:
    """Which dimensions to split; empty if no matrix is split along a wrong one."""
    wrong = [
        path for path in paths if path in layout.kinds and layout.spec(path) != layout.expected[layout.kinds[path]]
    ]
    remedy = split_remedy(layout.kinds[path] for path in wrong if path in layout.to_be_sharded)
    few_heads = _FEW_HEADS if any(path in layout.to_be_replicated for path in wrong) else ""
    return f"{remedy} {few_heads}".strip()


def _judge_axes(layout: Layout) -> None:
    """No matrix is sharded over the axis "batch"."""
    wrong = [path for path in layout.kinds if "batch" in layout.spec(path)]
    if wrong:
        cause = f'The layout shards {_number(len(wrong), "matrix")} of {layout.where} over the axis "batch".'
        rows = [(path, layout.by_path[path].shape, layout.spec(path)) for path in wrong[:6]]
        raise Failed("LAYOUT_WRONG_AXIS", cause, ("variable", "shape", "your spec"), rows)


def _judge_replicated(layout: Layout) -> None:
    """Every matrix that can be sharded is sharded; otherwise the diagnosis shows the rules."""
    replicated = [one for one in layout.deviations if one.replicated]
    if not replicated:
        return
    code, cause, remedy = why_replicated(layout, replicated)
    raise Failed(code, cause, ("your rule", "matches"), _rows_of_replicated(layout, replicated), remedy)


def why_replicated(layout: Layout, replicated: Sequence[Deviation]) -> tuple[str, str, str]:
    """Code, cause and remedy of matrices that are not sharded. Each rule has its own account."""
    idle = _idle_rules(layout, replicated)
    if idle:
        causes = []
        for pattern, theirs in idle[:3]:
            effect = f", so that each device holds all of {account(theirs)}" if theirs else ""
            causes.append(f"The rule {pattern!r} matches no variable of {layout.where}{effect}.")
        rest = [one for one in replicated if not any(one in theirs for _, theirs in idle)]
        if rest:
            causes.append(f"No rule shards {account(rest)}.")
        return "LAYOUT_RULE_MATCHES_NOTHING", " ".join(causes), ""
    sharded = {without_block_number(path) for path in layout.rules if any(layout.spec(path))}
    few = [one for one in replicated if one.kind in sharded]
    if len(few) == len(replicated):
        blocks = sorted({block for one in few for block in one.blocks})
        cause = (
            f"The rules shard the matrices of some blocks of {layout.where}, but not of {ranges(blocks)}: each device "
            f"holds all of {account(few)}."
        )
        return "LAYOUT_ONLY_FOR_FEW_LAYERS", cause, _blocks_remedy(blocks, few[0].all_blocks)
    cause = f"The layout replicates {account(replicated)} of {layout.where} on each device."
    empty = sorted({(one.number, one.pattern) for one in replicated if one.number})
    cause += "".join(f" Rule {number}, {pattern}, matches them and shards nothing." for number, pattern in empty[:2])
    names = joined(sorted({one.name for one in replicated}))
    remedy = f'{"Change" if empty else "Add or widen"} a rule, so that it splits {names} over "model".'
    if layout.to_be_replicated:
        kept = joined(sorted({layout.kinds[path].split("/")[-2] for path in layout.to_be_replicated}))
        remedy += f" Leave {kept} replicated: the axis does not divide their heads."
    return "LAYOUT_MATRIX_REPLICATED", cause, remedy


def _idle_rules(layout: Layout, replicated: Sequence[Deviation]) -> list[tuple[str, list[Deviation]]]:
    """Rules that match nothing, each with the replicated matrices that it was written for.

    A rule for blocks that this model does not have is right.
    """
    blocks = max((one.all_blocks for one in replicated), default=0)
    named = [(pattern, _BLOCK.search(pattern)) for pattern in layout.idle]
    idle = [pattern for pattern, block in named if not (block and int(block[1]) >= blocks)]
    found = []
    for pattern in idle:
        names = meant_for(pattern, [one.name for one in replicated])
        found.append((pattern, [one for one in replicated if one.name in names]))
    # A rule that was written for something else is named only if no other rule can be.
    return [entry for entry in found if entry[1]] or found


def _blocks_remedy(blocks: Sequence[int], all_blocks: int) -> str:
    if list(blocks) == list(range(10, all_blocks)):
        return (
            "Let the pattern match numbers with any count of digits: decoder_block_10 has two digits, and each + or * "
            "belongs to what stands before it."
        )
    return f"Let the rules match any block number: {ranges(blocks)} of {all_blocks} blocks have none."


def _rows_of_replicated(layout: Layout, replicated: Sequence[Deviation]) -> list[tuple[str, str]]:
    """What each rule matches, which matrices no rule shards, and the bytes on each device."""
    # Rules that match nothing come first: a table of exact paths is long.
    rules = (
        sorted(layout.coverage.rules, key=lambda rule: bool(rule.paths))
        if len(layout.coverage.rules) > _ROWS
        else (layout.coverage.rules)
    )
    rows = [
        (str(rule.pattern), f"{_number(len(rule.paths), 'variable')}, {format_bytes(rule.nbytes)}")
        for rule in rules[:_ROWS]
    ]
    if len(rules) > _ROWS:
        rows.append((f"and {len(rules) - _ROWS} more rules", ""))
    rows += [
        (
            "(no rule matches)" if not one.number else f"(rule {one.number} shards nothing)",
            f"{one.shown}, {format_bytes(one.held)}, or {format_bytes(one.needed)} if sharded",
        )
        for one in replicated[:_ROWS]
    ]
    held = layout.coverage.nbytes_per_device
    budget = held - sum(one.held - one.needed for one in replicated)
    return [*rows, ("(bytes on each device)", f"{format_bytes(held)}, or {format_bytes(budget)} if these were sharded")]


def _judge_dimensions(layout: Layout) -> None:
    """Each matrix is sharded along the dimension for which devices exchange the least data."""
    wrong = [one for one in layout.deviations if one.paths[0] in layout.kinds and any(one.spec)]
    if not wrong:
        return
    # One row for all blocks, so that the table has every kind of matrix.
    rows = []
    for one in wrong:
        kind = layout.kinds[one.paths[0]]
        named = oracle.DIMENSIONS[kind]
        split = [name for name, axis in zip(named, one.spec, strict=True) if axis is not None]
        rows.append((kind, one.count, named, one.spec, joined(split)))
    number = _number(sum(one.count for one in wrong), "matrix")
    shown = joined([f"{kind} along {split}" for kind, _, _, _, split in rows[:3]])
    more = f", and {len(rows) - 3} more kinds" if len(rows) > 3 else ""
    if all(path in layout.to_be_replicated for one in wrong for path in one.paths):
        effect = "every device needs them in full, so that each step must gather them or their results"
    else:
        effect = "the bytes on each device are the same, but devices exchange more data"
    raise Failed(
        "LAYOUT_WRONG_DIMENSION",
        f"The layout splits {number} of {layout.where} along the wrong dimension: {shown}{more}; {effect}.",
        ("matrix", "count", "dimensions", "your spec", "you split"),
        rows[:_ROWS],
        _dimension_remedy(layout, [path for one in wrong for path in one.paths]),
    )


def _judge_bytes(layout: Layout) -> None:
    """A device holds no more than its shards of the matrices, and the other variables."""
    budget = math.ceil(
        sum(
            variable.nbytes / (layout.axis_sizes["model"] if variable.path in layout.to_be_sharded else 1)
            for variable in layout.variables
        )
    )
    if layout.coverage.nbytes_per_device > budget:
        cause = f"Each device holds more bytes of {layout.where} than necessary."
        rows = [(format_bytes(budget), format_bytes(layout.coverage.nbytes_per_device))]
        raise Failed("NOT_AS_EXPECTED", cause, ("expected at most", "yours"), rows)


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {'matrices' if noun == 'matrix' else noun + 's'}"
