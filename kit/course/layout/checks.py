"""Checks of the exercise ``layout``."""

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

import keras

from kit.course.shared import tensor_parallel as oracle
from kit.course.shared.meshes import sharding_meshes
from kit.checks.diagnosis import Failed
from kit.judge.submission import Submission
from kit.evidence.attribution import without_block_number
from kit.evidence.rule_coverage import RuleCoverage, rule_coverage
from kit.evidence.program import collectives, compile_gradients
from kit.models.architectures import GEMMA_7B
from kit.evidence.rule_coverage import LayoutError
from kit.models.weightless import VariableInfo, build_language_model, no_weights, weightless_variables
from kit.narrator import as_bytes

FUNCTION = "gemma_layout_map"
#: What to try where there are fewer heads than the axis has devices.
_FEW_HEADS = 'These heads are too few to be split. Weigh what is left, by what it sends: `kit lesson clinic "One head on eight cores"`.'
_BLOCK = re.compile(r"decoder_block_\d+")


def small_model(submission: Submission) -> None:
    """On a small model and on each mesh, every matrix is split, along the right dimension."""
    look_at(submission, "a small Gemma of 2 layers", oracle.small_config(), 0)


def gemma_7b(submission: Submission) -> None:
    """The same on Gemma 7B with its 28 layers, without its weights."""
    look_at(submission, "Gemma 7B", GEMMA_7B, 0)


def adapters(submission: Submission) -> None:
    """No rule catches an adapter that it does not fit."""
    look_at(submission, "a small Gemma with LoRA", oracle.small_config(), 4)


def collective_bytes(submission: Submission) -> None:
    """The compiled gradients of a training step send no more than the layout of the lesson needs."""
    look_at_collectives(submission)


def look_at_collectives(submission: Submission, function: str = FUNCTION) -> None:
    """Judge what the compiled gradients of a small Gemma send under a layout map.

    Args:
        submission: The solution.
        function: Of the solution, which makes a layout map for a mesh.

    Raises:
        Failed: if they send more than with the layout of the lesson.

    """
    for batch, model in sharding_meshes():
        mesh = oracle.device_mesh(batch, model)
        sent = {}
        for name, make in (
            ("yours", lambda mesh, _: _call(submission, mesh, function)),
            ("needed", oracle.tensor_parallel_map),
        ):
            sent[name] = _sent(mesh, make)
        assert sent["needed"].operations, (
            "the compiled program has no collective: it was not compiled for several devices"
        )
        if sent["yours"].nbytes > sent["needed"].nbytes:
            kinds = sorted(sent["yours"].by_kind() | sent["needed"].by_kind())
            rows = []
            for kind in kinds:
                (count, nbytes), (needed, needed_bytes) = (
                    sent[key].by_kind().get(kind, (0, 0)) for key in ("yours", "needed")
                )
                rows.append((kind, f"{count}, {nbytes:,} bytes", f"{needed}, {needed_bytes:,} bytes"))
            raise Failed(
                "LAYOUT_EXTRA_COLLECTIVES",
                f"On the mesh ({batch}, {model}) a step of a small Gemma sends {sent['yours'].nbytes / sent['needed'].nbytes:.2f} times "
                "the bytes that it needs to.",
                ("collective", "yours", "needed"),
                rows,
            )


def v3_8(submission: Submission) -> None:
    """Compiled for a TPU v3-8, Gemma 7B's step fits, and holds and sends no more than it needs to."""
    from kit.course.shared import tpu_step as tpu

    parts = dataclasses.replace(tpu.right_parts(), make_layout_map=lambda mesh: _call(submission, mesh, FUNCTION))
    try:
        made = tpu.plan(parts, rank=4)
    except LayoutError as error:
        raise Failed(
            "NOT_AS_EXPECTED", "Keras would not take this layout for Gemma 7B.", ("found",), [(error,)], str(error)
        ) from None
    right = tpu.golden(4)
    held = [(kind, rule or "no rule", as_bytes(nbytes)) for kind, rule, nbytes in made.held[:5]]
    columns = (f"a core holds, of {made.layers} blocks", "split by", "bytes")
    needed = tpu.all_blocks(parts, made)
    if not made.fits or needed > made.usable:
        raise Failed(
            "LAYOUT_DOES_NOT_FIT",
            f"Gemma 7B needs {as_bytes(needed)} on each core of a v3-8, which has {as_bytes(made.usable)}.",
            columns,
            held,
        )
    if made.arguments > 1.01 * right.arguments:
        raise Failed(
            "LAYOUT_MATRIX_REPLICATED",
            f"Each core of a v3-8 holds {as_bytes(made.arguments)} of {made.layers} blocks, where {as_bytes(right.arguments)} "
            f"would do; of all blocks that is {as_bytes(needed)}.",
            columns,
            held,
        )
    mine, least = sum(tpu.sent_by_layer(made).values()), sum(right.sent.values())
    if mine > 1.01 * least:
        raise Failed(
            "LAYOUT_EXTRA_COLLECTIVES",
            f"On a v3-8 a step of {made.layers} blocks sends {as_bytes(mine)}, where {as_bytes(least)} would do.",
            ("layer", "because of", "yours", "needed"),
            tpu.sent_rows(made, right),
        )


def _call(submission: Submission, mesh: keras.distribution.DeviceMesh, function: str) -> keras.distribution.LayoutMap:
    layout_map = submission.call(function, mesh, returns=keras.distribution.LayoutMap)
    if layout_map.device_mesh is not mesh:
        raise Failed(
            "NOT_AS_EXPECTED",
            "The layout map is not over the mesh that was given.",
            ("expected", "yours"),
            [(mesh, layout_map.device_mesh)],
            advice="Give the mesh to keras.distribution.LayoutMap.",
        )
    return layout_map


def _sent(mesh: keras.distribution.DeviceMesh, make: Callable[[Any, list[str]], keras.distribution.LayoutMap]) -> Any:
    with no_weights():
        model = build_language_model(oracle.small_config())
        model.backbone.enable_lora(4, target_layer_names=["query", "value"])
        distribution = oracle.model_parallel(make(mesh, [variable.path for variable in model.variables]))
        with distribution.scope():
            return collectives(compile_gradients(model, distribution, batch_size=8, sequence_length=24).as_text())


def look_at(submission: Submission, what: str, config: Mapping[str, Any], rank: int, function: str = FUNCTION) -> None:
    """Judge what a layout map does to a model, on each mesh.

    Args:
        submission: The solution.
        what: The model, for a person.
        config: The content of a preset's ``config.json``.
        rank: Of LoRA; 0 for none.
        function: Of the solution, which makes a layout map for a mesh.

    Raises:
        Failed: if a variable does not lie as :func:`kit.course.shared.tensor_parallel.expected_layout` has it.

    """
    variables = weightless_variables(config, rank)
    for batch, model in sharding_meshes():
        layout_map = _call(submission, oracle.device_mesh(batch, model), function)
        _judge(
            rule_coverage(layout_map, variables),
            layout_map,
            variables,
            f"{what} on the mesh ({batch}, {model})",
            oracle.expected_layout(config["config"], model),
        )


def _judge(
    coverage: RuleCoverage,
    layout_map: keras.distribution.LayoutMap,
    variables: Sequence[VariableInfo],
    where: str,
    expected: Mapping[str, tuple[str | None, ...]],
) -> None:
    if coverage.overlaps:
        raise Failed(
            "LAYOUT_RULES_OVERLAP",
            f"More than one rule matches {_number(len(coverage.overlaps), 'variable')} of {where}.",
            ("variable", "rules"),
            [(path, "  and  ".join(patterns)) for path, patterns in coverage.overlaps[:6]],
        )
    by_path = {variable.path: variable for variable in variables}
    sizes = dict(zip(layout_map.device_mesh.axis_names, layout_map.device_mesh.shape, strict=True))
    # A spec may leave trailing Nones out.
    specs = {
        path: (rule.pattern, rule.spec + (None,) * (len(by_path[path].shape) - len(rule.spec)))
        for rule in coverage.rules
        for path in rule.paths
    }
    kinds = {variable.path: kind for variable in variables if (kind := oracle.kind_of(variable.path))}
    to_be_split = {path for path, kind in kinds.items() if any(expected[kind])}
    assert to_be_split, f"{where} has no matrix to be split"
    to_be_whole = kinds.keys() - to_be_split
    _judge_fit(by_path, specs, sizes, where, to_be_whole)

    misplaced = [
        (variable, spec)
        for variable in variables
        if (spec := specs.get(variable.path, ("", ()))[1]) and "batch" in _flat(spec) and oracle.kind_of(variable.path)
    ]
    if misplaced:
        raise Failed(
            "LAYOUT_WRONG_AXIS",
            f'The axis "batch" splits {_number(len(misplaced), "matrix")} of {where}.',
            ("variable", "shape", "your spec"),
            [(variable.path, variable.shape, spec) for variable, spec in misplaced[:6]],
        )
    whole = [
        variable
        for variable in variables
        if variable.path in to_be_split and not any(specs.get(variable.path, ("", ()))[1])
    ]
    if whole:
        _fail_for_whole(whole, coverage, specs, sizes["model"], where)
    turned = [
        (specs[path][1], kind) for path, kind in kinds.items() if path in specs and specs[path][1] != expected[kind]
    ]
    needed_whole = [path for path in to_be_whole if any(specs.get(path, ("", ()))[1])]
    if needed_whole and len(needed_whole) == len(turned):
        raise Failed(
            "LAYOUT_WRONG_DIMENSION",
            f"{_number(len(needed_whole), 'matrix')} of {where}, which every device needs whole, are split: in each step they or what "
            "comes of them must be collected.",
            ("kernel", "how many", "dimensions", "your spec"),
            _by_kind(turned),
            advice=_FEW_HEADS,
        )
    if turned:
        raise Failed(
            "LAYOUT_WRONG_DIMENSION",
            f"A dimension that costs more is split in {_number(len(turned), 'matrix')} of {where}: the bytes are the same, and "
            "what the devices send each other is not.",
            ("kernel, or embeddings", "how many", "dimensions", "your spec"),
            _by_kind(turned),
        )
    # What is left is small, or matched as it should be. A closed form, so that nothing slips through the cases above.
    budget = sum(variable.nbytes / (sizes["model"] if variable.path in to_be_split else 1) for variable in variables)
    if coverage.nbytes_per_device > math.ceil(budget):
        raise Failed(
            "NOT_AS_EXPECTED",
            f"A device holds more of {where} than it needs to.",
            ("expected at most", "yours"),
            [(as_bytes(math.ceil(budget)), as_bytes(coverage.nbytes_per_device))],
        )


def _judge_fit(
    by_path: Mapping[str, VariableInfo],
    specs: Mapping[str, tuple[str, tuple[Any, ...]]],
    sizes: Mapping[str, int],
    where: str,
    to_be_whole: Set[str],
) -> None:
    """Each spec has an axis or None for each dimension, and each axis divides its dimension."""
    long = [(path, pattern, spec) for path, (pattern, spec) in specs.items() if len(spec) != len(by_path[path].shape)]
    indivisible = [
        (path, pattern, spec)
        for path, (pattern, spec) in specs.items()
        if any(
            size % math.prod(sizes[axis] for axis in _flat((axes,)))
            for size, axes in zip(by_path[path].shape, spec, strict=False)
            if axes is not None
        )
    ]
    for found, code, what in (
        (long, "LAYOUT_SPEC_DOES_NOT_FIT", "A spec has more entries than the shape of"),
        (indivisible, "LAYOUT_AXIS_DOES_NOT_DIVIDE", "An axis does not divide a dimension of"),
    ):
        adapters_found = [item for item in found if "/lora_" in item[0]]
        if adapters_found and len(adapters_found) == len(found):
            code, what = "LAYOUT_CATCHES_ADAPTERS", "A rule for the kernels catches, and does not fit,"
        if found:
            raise Failed(
                code,
                f"{what} {_number(len(found), 'variable')} of {where}.",
                ("variable", "shape", "your rule", "your spec"),
                [(path, by_path[path].shape, pattern, spec) for path, pattern, spec in found[:6]],
                advice=_FEW_HEADS if found is indivisible and all(path in to_be_whole for path, *_ in found) else "",
            )


def _by_kind(turned: Sequence[tuple[Any, str]]) -> list[tuple[Any, ...]]:
    """One line for all blocks, so that no kind of matrix is left out."""
    return [
        (kind, number, oracle.DIMENSIONS[kind], spec)
        for (kind, spec), number in Counter((kind, spec) for spec, kind in turned).items()
    ]


def _fail_for_whole(
    whole: Sequence[VariableInfo],
    coverage: RuleCoverage,
    specs: Mapping[str, tuple[str, tuple[Any, ...]]],
    model_axis: int,
    where: str,
) -> None:
    """Say because of which rule each device holds a copy of these matrices."""
    nbytes = sum(variable.nbytes for variable in whole)
    rows = [
        (rule.pattern, f"{_number(len(rule.paths), 'variable')}, {as_bytes(rule.nbytes)}") for rule in coverage.rules
    ]
    rows += [("(no rule splits)", f"{variable.path}, {as_bytes(variable.nbytes)}") for variable in whole[:4]]
    if len(whole) > 4:
        rows.append(("(no rule splits)", f"and {len(whole) - 4} more"))
    budget = coverage.nbytes_per_device - nbytes + nbytes / model_axis
    rows.append(
        ("(a device holds)", f"{as_bytes(coverage.nbytes_per_device)}, and {as_bytes(budget)} if these were split")
    )
    evidence = (("your rule", "matches"), rows)
    idle = [rule.pattern for rule in coverage.rules if not rule.paths]
    if idle:
        raise Failed(
            "LAYOUT_RULE_MATCHES_NOTHING",
            f"The rule {idle[0]!r} matches no variable of {where}, and every device holds {as_bytes(nbytes)} whole.",
            *evidence,
        )
    split = {without_block_number(path) for path, (_, spec) in specs.items() if any(spec)}
    partly = [variable for variable in whole if without_block_number(variable.path) in split]
    if len(partly) == len(whole):
        blocks = sorted({int(match[0].rpartition("_")[2]) for v in partly if (match := _BLOCK.search(v.path))})
        raise Failed(
            "LAYOUT_ONLY_FOR_FEW_LAYERS",
            f"In {where} the rules split the matrices of some blocks, and not those of the blocks {_ranges(blocks)}.",
            *evidence,
        )
    raise Failed(
        "LAYOUT_MATRIX_REPLICATED",
        f"Every device holds {_number(len(whole), 'matrix')} of {where} whole: {as_bytes(nbytes)}.",
        *evidence,
    )


def _flat(spec: Sequence[Any]) -> list[str]:
    return [axis for axes in spec if axes is not None for axis in (axes if isinstance(axes, tuple) else (axes,))]


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {'matrices' if noun == 'matrix' else noun + 's'}"


def _ranges(numbers: Sequence[int]) -> str:
    return f"{numbers[0]} to {numbers[-1]}" if len(numbers) > 1 else str(numbers[0])
