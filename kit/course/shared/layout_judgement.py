"""Layout maps of a solution as data, and their judgement: rule coverage and collectives."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras

from kit.checks.diagnosis import Failed
from kit.course.shared import tensor_parallel as oracle
from kit.course.shared.meshes import MeshSeen, sharding_meshes
from kit.evidence.attribution import without_block_number
from kit.evidence.program import Collectives, collectives, compile_gradients
from kit.evidence.rule_coverage import RuleCoverage, rule_coverage
from kit.formatting import format_bytes
from kit.judge.observation import Outcome, returned
from kit.judge.submission import Submission
from kit.models.weightless import VariableInfo, build_language_model, no_weights, weightless_variables

#: What to try if the axis has more devices than there are heads.
_FEW_HEADS = (
    "There are fewer heads than devices on the axis. Compare the other layouts by the data that they exchange: see "
    '`kit lesson clinic "One head on eight cores"`.'
)
_BLOCK = re.compile(r"decoder_block_(\d+)")


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
    """A call with a mesh of shape (batch, model) over all devices, and its result."""

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
    """The layout maps for all meshes of :func:`kit.course.shared.meshes.sharding_meshes`."""
    return [observe_layout_map(submission, function, *shape) for shape in sharding_meshes()]


def judge_layout(calls: Sequence[LayoutCall], model: str, config: Mapping[str, Any], rank: int) -> None:
    """Compare the sharding of a model's variables with :func:`tensor_parallel.expected_layout`.

    ``config`` is the content of a preset's ``config.json``; with rank 0 there is no LoRA.
    """
    assert calls, "no layout map was asked for"
    variables = weightless_variables(config, rank)
    for call in calls:
        layout_map = call.layout_map(call.mesh)
        layout = _Layout(
            f"{model} on the mesh ({call.batch}, {call.model})",
            variables,
            {"batch": call.batch, "model": call.model},
            rule_coverage(layout_map, variables),
            oracle.expected_layout(config["config"], call.model),
        )
        _judge_overlaps(layout)
        assert layout.to_be_sharded, f"{layout.where} has no matrix to shard"
        _judge_specs(layout)
        _judge_axes(layout)
        _judge_replicated(layout)
        _judge_dimensions(layout)
        _judge_bytes(layout)


def judge_collectives(calls: Sequence[LayoutCall]) -> None:
    """Compare the collectives of a small Gemma's gradients with those of tensor parallelism."""
    assert calls, "no layout map was asked for"
    for call in calls:
        yours = _collectives(call.layout_map(call.mesh))
        needed = _collectives(
            oracle.tensor_parallel_map(call.mesh, oracle.split_paths(oracle.SMALL_SIZES["num_layers"]))
        )
        assert needed.operations, "the compiled program has no collective: it was compiled for one device"
        if yours.nbytes <= needed.nbytes:
            continue
        counts = yours.by_kind(), needed.by_kind()
        raise Failed(
            "LAYOUT_EXTRA_COLLECTIVES",
            f"On the mesh ({call.batch}, {call.model}) a training step of a small Gemma sends "
            f"{yours.nbytes / needed.nbytes:.2f} times as many bytes as necessary.",
            ("collective", "yours", "needed"),
            [
                (kind, *("{}, {:,} bytes".format(*count.get(kind, (0, 0))) for count in counts))
                for kind in sorted(counts[0] | counts[1])
            ],
        )


def _collectives(layout_map: keras.distribution.LayoutMap) -> Collectives:
    distribution = oracle.model_parallel(layout_map)
    with no_weights():
        model = build_language_model(oracle.small_config())
        model.backbone.enable_lora(4, target_layer_names=["query", "value"])
        with distribution.scope():
            return collectives(compile_gradients(model, distribution, batch_size=8, sequence_length=24).as_text())


@dataclass(frozen=True)
class _Layout:
    """What a layout map does to a model, and what is expected."""

    #: Model and mesh, for diagnostics.
    where: str
    variables: Sequence[VariableInfo]
    axis_sizes: Mapping[str, int]
    coverage: RuleCoverage
    #: Kind of matrix -> spec.
    expected: Mapping[str, tuple[str | None, ...]]

    @cached_property
    def by_path(self) -> dict[str, VariableInfo]:
        return {variable.path: variable for variable in self.variables}

    @cached_property
    def rules(self) -> dict[str, tuple[str, tuple[str | None, ...]]]:
        """Path -> pattern and spec of its rule; the spec has an entry for each dimension."""
        return {
            path: (rule.pattern, rule.spec + (None,) * (len(self.by_path[path].shape) - len(rule.spec)))
            for rule in self.coverage.rules
            for path in rule.paths
        }

    def spec(self, path: str) -> tuple[str | None, ...]:
        """The spec of the rule that matches a path; empty if none does."""
        return self.rules[path][1] if path in self.rules else ()

    @cached_property
    def kinds(self) -> dict[str, str]:
        """Path -> kind of matrix."""
        return {path: kind for path in self.by_path if (kind := oracle.kind_of(path))}

    @cached_property
    def to_be_sharded(self) -> set[str]:
        return {path for path, kind in self.kinds.items() if any(self.expected[kind])}

    @cached_property
    def to_be_replicated(self) -> set[str]:
        """Matrices that every device needs in full."""
        return self.kinds.keys() - self.to_be_sharded


def _judge_overlaps(layout: _Layout) -> None:
    overlaps = layout.coverage.overlaps
    if overlaps:
        cause = f"More than one rule matches {_number(len(overlaps), 'variable')} of {layout.where}."
        rows = [(path, "  and  ".join(map(str, patterns))) for path, patterns in overlaps[:6]]
        raise Failed("LAYOUT_RULES_OVERLAP", cause, ("variable", "rules"), rows)


def _judge_specs(layout: _Layout) -> None:
    """A spec has no more entries than the shape, and each axis divides its dimension."""
    found = [(path, layout.by_path[path].shape, pattern, spec) for path, (pattern, spec) in layout.rules.items()]
    too_long = [row for row in found if len(row[3]) != len(row[1])]
    indivisible = [
        row
        for row in found
        if any(size % layout.axis_sizes[axis] for size, axis in zip(row[1], row[3], strict=False) if axis is not None)
    ]
    for rows, code, cause in (
        (too_long, "LAYOUT_SPEC_DOES_NOT_FIT", "A spec has too many entries for"),
        (indivisible, "LAYOUT_AXIS_DOES_NOT_DIVIDE", "An axis does not divide a dimension of"),
    ):
        if not rows:
            continue
        if all("/lora_" in path for path, *_ in rows):
            code, cause = "LAYOUT_CATCHES_ADAPTERS", "A rule for kernels matches adapters, and its spec does not fit"
        few_heads = rows is indivisible and all(path in layout.to_be_replicated for path, *_ in rows)
        raise Failed(
            code,
            f"{cause} {_number(len(rows), 'variable')} of {layout.where}.",
            ("variable", "shape", "your rule", "your spec"),
            rows[:6],
            remedy=_FEW_HEADS if few_heads else "",
        )


def _judge_axes(layout: _Layout) -> None:
    """No matrix is sharded over the axis "batch"."""
    wrong = [path for path in layout.kinds if "batch" in layout.spec(path)]
    if wrong:
        cause = f'The layout shards {_number(len(wrong), "matrix")} of {layout.where} over the axis "batch".'
        rows = [(path, layout.by_path[path].shape, layout.spec(path)) for path in wrong[:6]]
        raise Failed("LAYOUT_WRONG_AXIS", cause, ("variable", "shape", "your spec"), rows)


def _judge_replicated(layout: _Layout) -> None:
    """Every matrix that can be sharded is sharded; otherwise the diagnosis shows the rules."""
    replicated = [layout.by_path[path] for path in layout.kinds if path in layout.to_be_sharded]
    replicated = [variable for variable in replicated if not any(layout.spec(variable.path))]
    if not replicated:
        return
    nbytes = sum(variable.nbytes for variable in replicated)
    evidence = (("your rule", "matches"), _rows_of_replicated(layout, replicated))
    idle = [rule.pattern for rule in layout.coverage.rules if not rule.paths]
    if idle:
        raise Failed(
            "LAYOUT_RULE_MATCHES_NOTHING",
            f"The rule {idle[0]!r} matches no variable of {layout.where}, and the layout replicates "
            f"{_number(len(replicated), 'matrix')}: {format_bytes(nbytes)} on each device.",
            *evidence,
        )
    sharded = {without_block_number(path) for path, (_, spec) in layout.rules.items() if any(spec)}
    if all(without_block_number(variable.path) in sharded for variable in replicated):
        blocks = sorted({int(match[1]) for variable in replicated if (match := _BLOCK.search(variable.path))})
        cause = f"The rules shard the matrices of some blocks of {layout.where}, but not of {_ranges(blocks)}."
        raise Failed("LAYOUT_ONLY_FOR_FEW_LAYERS", cause, *evidence)
    raise Failed(
        "LAYOUT_MATRIX_REPLICATED",
        f"The layout replicates {_number(len(replicated), 'matrix')} of {layout.where}: {format_bytes(nbytes)} on each "
        "device.",
        *evidence,
    )


def _rows_of_replicated(layout: _Layout, replicated: Sequence[VariableInfo]) -> list[tuple[str, str]]:
    """What each rule matches, which matrices no rule shards, and the bytes on each device."""
    rows = [
        (str(rule.pattern), f"{_number(len(rule.paths), 'variable')}, {format_bytes(rule.nbytes)}")
        for rule in layout.coverage.rules
    ]
    rows += [("(no rule shards)", f"{variable.path}, {format_bytes(variable.nbytes)}") for variable in replicated[:4]]
    if len(replicated) > 4:
        rows.append(("(no rule shards)", f"and {len(replicated) - 4} more"))
    nbytes, held = sum(variable.nbytes for variable in replicated), layout.coverage.nbytes_per_device
    budget = held - nbytes + nbytes / layout.axis_sizes["model"]
    return [*rows, ("(bytes on each device)", f"{format_bytes(held)}, or {format_bytes(budget)} if these were sharded")]


def _judge_dimensions(layout: _Layout) -> None:
    """Each matrix is sharded along the dimension for which devices exchange the least data."""
    wrong = [
        path
        for path, kind in layout.kinds.items()
        if path in layout.rules and layout.spec(path) != layout.expected[kind]
    ]
    if not wrong:
        return
    # One row for all blocks, so that the table has every kind of matrix.
    counts = Counter((layout.kinds[path], layout.spec(path)) for path in wrong)
    rows = [(kind, count, oracle.DIMENSIONS[kind], spec) for (kind, spec), count in counts.items()]
    number = _number(len(wrong), "matrix")
    if set(wrong) <= layout.to_be_replicated:
        raise Failed(
            "LAYOUT_WRONG_DIMENSION",
            f"The layout shards {number} of {layout.where} that every device needs in full: each step must gather them "
            "or their results.",
            ("kernel", "count", "dimensions", "your spec"),
            rows,
            remedy=_FEW_HEADS,
        )
    raise Failed(
        "LAYOUT_WRONG_DIMENSION",
        f"The layout shards {number} of {layout.where} along a dimension that costs more: the bytes on each device are "
        "the same, but devices exchange more data.",
        ("kernel or embeddings", "count", "dimensions", "your spec"),
        rows,
    )


def _judge_bytes(layout: _Layout) -> None:
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


def _ranges(blocks: Sequence[int]) -> str:
    return f"blocks {blocks[0]} to {blocks[-1]}" if len(blocks) > 1 else f"block {blocks[0]}"
