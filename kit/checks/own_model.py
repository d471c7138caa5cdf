"""Checks of a person's own Keras model, to be called from their own tests.

Each raises :class:`CheckFailed`, an AssertionError whose text is a panel: the code, the cause, the evidence and what to try.
Each first sees to it that there is something to look at. Importing this imports no framework; Keras must run on JAX.
"""

import functools
import math
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from kit.checks.diagnosis import Diagnosis, Failed
from kit.errors import UserError
from kit.narrator import as_bytes, as_count, as_tuple

if TYPE_CHECKING:
    import keras

    from kit.evidence.adapters import AdaptableLayer, Adapters
    from kit.evidence.invariance import Trajectory
    from kit.evidence.rule_coverage import RuleCoverage, RuleMatch
    from kit.models.weightless import VariableInfo

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")

#: Rows of a table, after which the rest is counted.
_MOST_ROWS = 40


class CheckFailed(AssertionError):  # noqa: N818 -- it is a verdict, not an error
    """A model does not pass a check. Its text is the diagnosis as a person reads it."""

    #: As a reader of a failure sees it, and imports it.
    __module__ = "kit.checks"

    def __init__(self, diagnosis: Diagnosis) -> None:
        """Take the diagnosis, which stays in the attribute ``diagnosis``."""
        # pytest puts the name of this class before the first line, and a margin before each.
        super().__init__(diagnosis.as_text(width=88))
        self.diagnosis = diagnosis


def _check(function: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
    """Let a check raise CheckFailed from here, so that pytest shows the panel and no frame of ours."""

    @functools.wraps(function)
    def checked(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
        __tracebackhide__ = True
        import keras

        if keras.backend.backend() != "jax":
            raise UserError(
                f"Keras runs on {keras.backend.backend()}, and the checks need JAX: set KERAS_BACKEND=jax before Keras is "
                "imported, or `simulated_devices = 8` in pytest's ini file."
            )
        try:
            return function(*args, **kwargs)
        except Failed as failed:
            diagnosis = failed.diagnosis
        raise CheckFailed(diagnosis)

    return checked


@_check
def check_layout_coverage(layout_map: "keras.distribution.LayoutMap", model_or_variables: Any) -> None:
    """Each rule matches something, no two match the same variable, and each spec fits the shapes that it matches.

    A variable that no rule matches is shown and is no failure: see :func:`check_replicated_bytes`.

    Args:
        layout_map: With its device mesh.
        model_or_variables: A built model (or layer), with its weights or without, or a list of its variables, or of their
            descriptions (:class:`kit.models.weightless.VariableInfo`).

    Raises:
        CheckFailed: NOTHING_TO_CHECK (no rule or no variable), LAYOUT_RULE_MATCHES_NOTHING, LAYOUT_RULES_OVERLAP,
            LAYOUT_SPEC_DOES_NOT_FIT (more entries than dimensions, or an axis twice), LAYOUT_AXIS_DOES_NOT_DIVIDE. All that
            is wrong is in the table; the code is that of the first.

    """
    coverage, _ = _cover(layout_map, model_or_variables)
    _judge_rules(coverage, layout_map, every_rule_matches=True)


@_check
def check_replicated_bytes(
    layout_map: "keras.distribution.LayoutMap", model_or_variables: Any, share: float = 0.01
) -> None:
    """What each device holds whole under this layout map is, in all, at most ``share`` of the model's bytes.

    It is the sum that is judged: of Gemma 7B's feed-forward matrices each one is less than 1 % of the model, and a rule that
    misses them leaves 25 % on each device. Norms and biases are far below 1 % of a model of any size that is worth sharding;
    LoRA's matrices, which are best left whole, may be above it in a small one.

    Args:
        layout_map: With its device mesh, of two devices or more.
        model_or_variables: As :func:`check_layout_coverage` takes it.
        share: Of the model's bytes, between 0 and 1.

    Raises:
        CheckFailed: NOTHING_TO_CHECK (no rule, no variable, or a single device), LAYOUT_MATRIX_REPLICATED.

    """
    _require_share(share)
    coverage, variables = _cover(layout_map, model_or_variables)
    devices = math.prod(layout_map.device_mesh.shape)
    if devices < 2:
        raise Failed("NOTHING_TO_CHECK", "The mesh has a single device, which holds everything whole.")
    rules = {path: rule.pattern for rule in coverage.rules for path in rule.paths}
    _judge_whole(
        [
            (variable.path, variable.shape, variable.nbytes, rules.get(variable.path))
            for variable in coverage.replicated
        ],
        sum(variable.nbytes for variable in variables),
        share,
        f"Under this layout map each of the {devices} devices",
        "Add or widen a rule, so that what the table names is split over an axis of several devices.",
    )


@_check
def check_placement(model: "keras.Model", share: float = 0.01) -> None:
    """What each device holds whole of a loaded model is, in all, at most ``share`` of its bytes, as its arrays say.

    The same question as :func:`check_replicated_bytes`, put to the shardings of the weights themselves.

    Args:
        model: Built or loaded under a distribution, or a list of such variables.
        share: Of the model's bytes, between 0 and 1.

    Raises:
        CheckFailed: NOTHING_TO_CHECK (no weight, one without a value, or a single device here), LOADING_NO_DISTRIBUTION
            (everything is on one device), LOADING_DISTRIBUTION_TOO_LATE (something is on fewer devices than the rest),
            LAYOUT_MATRIX_REPLICATED.

    """
    _require_share(share)
    import jax

    from kit.evidence.placement import placements

    found = placements(getattr(model, "weights", model))
    valueless = [placement for placement in found if not placement.device_count]
    if not found or valueless:
        raise Failed(
            "NOTHING_TO_CHECK",
            f"{len(valueless)} of the model's {len(found)} weights have no value, so that they are nowhere."
            if found
            else "The model has no weights.",
            advice="Give the check a model that is built and has its weights; check_replicated_bytes judges one without.",
        )
    if jax.device_count() < 2:
        raise Failed(
            "NOTHING_TO_CHECK",
            f"There is a single device, {jax.devices()[0]}, which holds everything whole.",
            advice="Set `simulated_devices = 8` in pytest's ini file.",
        )
    most = max(placement.device_count for placement in found)
    counts = Counter(placement.device_count for placement in found)
    rows = [
        (
            f"{count} of {jax.device_count()}",
            number,
            as_bytes(sum(placement.nbytes for placement in found if placement.device_count == count)),
            next(placement.path for placement in found if placement.device_count == count),
        )
        for count, number in sorted(counts.items())
    ]
    evidence = (("devices", "weights", "bytes", "for example"), rows)
    if most == 1:
        raise Failed(
            "LOADING_NO_DISTRIBUTION",
            f"All {len(found)} weights of the model are on one device of the {jax.device_count()}.",
            *evidence,
            advice="Call keras.distribution.set_distribution before the model is built.",
        )
    if len(counts) > 1:
        raise Failed(
            "LOADING_DISTRIBUTION_TOO_LATE",
            f"{len(found) - counts[most]} of the model's {len(found)} weights are on fewer devices than the others.",
            *evidence,
            advice="Build the whole model under the distribution: a variable takes its place when it is created.",
        )
    _judge_whole(
        [(placement.path, placement.shape, placement.nbytes, None) for placement in found if placement.whole],
        sum(placement.nbytes for placement in found),
        share,
        f"Each of the {most} devices",
        "Compare the layout map with these paths (check_layout_coverage shows what each rule matches).",
    )


@_check
def check_lora_parameters(
    model: "keras.Model", rank: int, targets: Sequence[str] = ("query", "value"), train_biases: bool = False
) -> int:
    """What is trained is A and B of each targeted layer, of the shapes that the rank gives, and nothing else.

    A has shape ``kernel.shape[:-1] + (rank,)`` and B ``(rank, kernel.shape[-1])``; of an embedding (input_dim, rank) and
    (rank, output_dim). The kernels' shapes are the model's; the rest is arithmetic.

    Args:
        model: With LoRA enabled; its weights may be missing.
        rank: Of the adapters.
        targets: Names of layers, as ``Backbone.enable_lora`` takes them.
        train_biases: Whether the biases of the targeted layers may be trained too. KerasHub leaves them trainable (Qwen 2
            and GPT-2 have some).

    Returns:
        How many parameters are trained.

    Raises:
        CheckFailed: NOTHING_TO_CHECK (no weights, or LoRA enabled nowhere), LORA_NOTHING_TRAINABLE, LORA_WRONG_TARGETS,
            LORA_WRONG_RANK, LORA_BASE_NOT_FROZEN, LORA_WRONG_COUNT.

    """
    if rank < 1:
        raise ValueError(f"rank must be at least 1, not {rank}")
    wanted = (targets,) if isinstance(targets, str) else tuple(targets)
    if not wanted:
        raise ValueError("targets must name a layer")
    from kit.evidence.adapters import adapters

    found = adapters(model)
    _require_adapters(found, wanted)
    _judge_targets(found, wanted)
    _judge_rank(found, rank)
    kept = {layer.bias.path for layer in found.layers if train_biases and layer.adapters and layer.bias}
    _judge_base(found, kept)
    return _judge_count(found, rank, kept)


@_check
def check_mesh_invariance(
    make_model: Callable[[], "keras.Model"],
    batch: Any,
    layout_map_for: Callable[["keras.distribution.DeviceMesh"], "keras.distribution.LayoutMap"],
    meshes: Sequence[tuple[int, int]] = ((1, 8), (2, 4), (8, 1)),
    *,
    rtol: float = 1e-5,
    steps: int = 2,
    seed: int = 0,
    axis_names: tuple[str, str] = ("batch", "model"),
) -> tuple[float, ...]:
    """The loss of a batch, before training and after a step on it, is on each mesh what it is on one device.

    The model is built and trained once on one device without a distribution, and once under ModelParallel on each mesh. The
    check sets the distribution, Keras' seed and clears them; afterwards no distribution is set, whatever happens.

    Args:
        make_model: Builds the model anew and compiles it. Keras' seed is set before each call, so that a model from Keras'
            initializers is the same each time; what is drawn elsewhere must be seeded by this function.
        batch: What ``model.train_on_batch`` takes: a tuple (x, y) or (x, y, sample_weight), or x alone, such as a list of
            texts for a KerasHub task with its preprocessor. Each mesh's first size must divide the number of examples.
        layout_map_for: Makes the layout map for a device mesh.
        meshes: Sizes of the two axes. One that is smaller than there are devices takes the first ones.
        rtol: How much a loss may differ, relative to that on one device; 1e-5 is for float32.
        steps: How many training steps are compared. The loss of a step is taken before it changes the weights, so two show
            the effect of one.
        seed: For ``keras.utils.set_random_seed``.
        axis_names: Of the mesh; the batch is split over the first.

    Returns:
        The losses on one device.

    Raises:
        CheckFailed: NOTHING_TO_CHECK (no mesh, or one with too few devices or a single one; a step that changes the loss by
            no more than ``rtol``; a layout map that splits nothing), LOSS_NOT_FINITE, MODEL_NOT_REPRODUCIBLE, LOADING_DISTRIBUTION_TOO_LATE (``make_model`` returns a model that it built before),
            LAYOUT_RULES_OVERLAP, LAYOUT_SPEC_DOES_NOT_FIT, LAYOUT_AXIS_DOES_NOT_DIVIDE, LOSS_DEPENDS_ON_MESH.

    """
    if steps < 2:
        raise ValueError(f"steps must be at least 2, not {steps}: one step alone shows no effect of training")
    from kit.evidence.invariance import train

    shapes = [(int(first), int(second)) for first, second in meshes]
    _require_meshes(shapes, batch)
    twin = train(make_model, batch, steps=steps, seed=seed)
    _require_place(twin, 1, "one device")
    _require_losses(twin, rtol)
    # Before the first mesh is computed on, so that a rule that does not fit is told by its name.
    layout_maps = {shape: _layout_map(layout_map_for, shape, axis_names, twin) for shape in shapes}
    runs = {}
    for shape, layout_map in layout_maps.items():
        runs[shape] = train(make_model, batch, layout_map, steps=steps, seed=seed)
        _require_place(runs[shape], math.prod(shape), f"the mesh {as_tuple(shape)}")
        _require_same(twin, runs[shape], shape)
    _judge_losses(twin, runs, rtol)
    return twin.losses


# What the checks have in common.


def _require_share(share: float) -> None:
    if not 0 <= share < 1:
        raise ValueError(f"share must be at least 0 and below 1, not {share}")


def _described(model_or_variables: Any) -> "list[VariableInfo]":
    from kit.models.weightless import VariableInfo, describe

    variables = list(getattr(model_or_variables, "variables", model_or_variables))
    return [variable if isinstance(variable, VariableInfo) else describe([variable])[0] for variable in variables]


def _cover(
    layout_map: "keras.distribution.LayoutMap", model_or_variables: Any
) -> "tuple[RuleCoverage, list[VariableInfo]]":
    from kit.evidence.rule_coverage import rule_coverage

    variables = _described(model_or_variables)
    if not variables:
        raise Failed(
            "NOTHING_TO_CHECK",
            "There are no variables.",
            advice="Build the model first, or give the check its variables.",
        )
    if not len(layout_map):
        raise Failed(
            "NOTHING_TO_CHECK",
            f"The layout map has no rule for the {len(variables)} variables.",
            advice='Give it rules: layout_map[".*query/kernel"] = (None, "model", None).',
        )
    return rule_coverage(layout_map, variables), variables


def _grouped(items: "Iterable[tuple[str, tuple[int, ...], int]]") -> list[tuple[str, int, tuple[int, ...], int]]:
    """Variables (path, shape, bytes) as a person lists them: layers that differ in their number alone are one line.

    Returns:
        Label, how many, shape, and their bytes together; the largest first.

    """
    groups: dict[tuple[str, tuple[int, ...]], list[tuple[str, int]]] = {}
    for path, shape, nbytes in items:
        groups.setdefault((re.sub(r"\d+", "*", path), shape), []).append((path, nbytes))
    lines = []
    for (_, shape), members in groups.items():
        columns = zip(*(re.split(r"(\d+)", path) for path, _ in members), strict=True)
        label = "".join(column[0] if len(set(column)) == 1 else "*" for column in columns)
        lines.append((label, len(members), shape, sum(nbytes for _, nbytes in members)))
    return sorted(lines, key=lambda line: -line[3])


def _limited(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    if len(rows) <= _MOST_ROWS:
        return rows
    rest = ["" for _ in rows[0]]
    return [*rows[: _MOST_ROWS - 1], (f"and {len(rows) - _MOST_ROWS + 1} more", *rest[1:])]


# Layouts.


def _judge_rules(
    coverage: "RuleCoverage", layout_map: "keras.distribution.LayoutMap", every_rule_matches: bool
) -> None:
    problems = []
    rows: list[tuple[Any, ...]] = []
    for rule in coverage.rules:
        problem = _problem(rule, coverage, every_rule_matches)
        if problem is not None:
            problems.append(problem)
        rows.append(
            (rule.pattern, as_tuple(rule.spec), len(rule.paths), as_bytes(rule.nbytes), problem[3] if problem else "")
        )
    if not problems:
        return
    unmatched = _grouped((variable.path, variable.shape, variable.nbytes) for variable in coverage.unmatched)
    rows += [
        (label, f"shape {as_tuple(shape)}", count, as_bytes(nbytes), "no rule")
        for label, count, shape, nbytes in unmatched
    ]
    code, cause, advice, _ = problems[0]
    mesh = as_tuple(layout_map.device_mesh.shape)
    more = len(problems) - 1
    raise Failed(
        code,
        f"{cause} The mesh is {mesh}."
        + (f" {more} more rule{'s are' if more > 1 else ' is'} wrong, as the table says." if more else ""),
        ("rule, or variable without one", "dimensions over", "variables", "bytes", ""),
        _limited(rows),
        advice,
    )


def _problem(rule: "RuleMatch", coverage: "RuleCoverage", every_rule_matches: bool) -> tuple[str, str, str, str] | None:
    """What is wrong with a rule: code, cause, advice, and what the table says of it in a few words."""
    matched = set(rule.paths)
    overlaps = [(path, patterns) for path, patterns in coverage.overlaps if rule.pattern in patterns]
    if overlaps:
        path, patterns = overlaps[0]
        others = " and ".join(repr(pattern) for pattern in patterns if pattern != rule.pattern)
        return (
            "LAYOUT_RULES_OVERLAP",
            f"The rule {rule.pattern!r} and the rule {others} both match {path}.",
            "Make the rules exclude each other: Keras refuses a path that two of them match.",
            f"{len(overlaps)} matched by another rule too",
        )
    if not rule.paths:
        if not every_rule_matches:
            return None
        return (
            "LAYOUT_RULE_MATCHES_NOTHING",
            f"The rule {rule.pattern!r} matches no variable.",
            "Compare the rule with the paths that have no rule: since Keras 3.14 it must match the whole path (re.fullmatch).",
            "matches nothing",
        )
    misfit = next((misfit for misfit in coverage.misfits if misfit.path in matched), None)
    if misfit is not None:
        longer = len(misfit.spec) > len(misfit.shape)
        return (
            "LAYOUT_SPEC_DOES_NOT_FIT",
            f"The rule {rule.pattern!r} has {len(misfit.spec)} entries, and {misfit.path} has {len(misfit.shape)} dimensions."
            if longer
            else f"The rule {rule.pattern!r} splits two dimensions of {misfit.path} over one axis.",
            "Give one entry, an axis or None, for each dimension of the variable, and each axis once.",
            f"{len(misfit.spec)} entries for {len(misfit.shape)} dimensions" if longer else "an axis twice",
        )
    uneven = next((uneven for uneven in coverage.indivisible if uneven.path in matched), None)
    if uneven is not None:
        size = uneven.shape[uneven.dimension]
        return (
            "LAYOUT_AXIS_DOES_NOT_DIVIDE",
            f'The axis "{uneven.axis}" has {uneven.axis_size} devices, which do not divide the {size} of dimension '
            f"{uneven.dimension} of {uneven.path}, shape {as_tuple(uneven.shape)}.",
            "Split a dimension that the axis divides, or choose another mesh.",
            f"{uneven.axis_size} does not divide {size}",
        )
    return None


def _judge_whole(
    whole: list[tuple[str, tuple[int, ...], int, str | None]], nbytes: int, share: float, who: str, advice: str
) -> None:
    """Judge the variables (path, shape, bytes, rule) that each device holds whole, of so many bytes in all."""
    held = sum(size for _, _, size, _ in whole)
    if held <= share * nbytes:
        return
    rules = {path: rule for path, _, _, rule in whole}
    rows = []
    for label, count, shape, size in _grouped((path, shape, size) for path, shape, size, _ in whole):
        line: tuple[Any, ...] = (label, count, as_tuple(shape), as_bytes(size), f"{size / nbytes:.2%}")
        rows.append(line)
    by_rule = [f"{rule!r}" for rule in dict.fromkeys(rules.values()) if rule is not None]
    raise Failed(
        "LAYOUT_MATRIX_REPLICATED",
        f"{who} holds {as_bytes(held)} of the model's {as_bytes(nbytes)} whole, which is {held / nbytes:.2%}; {share:.2%} is allowed."
        + (f" Some of it by a rule that splits nothing: {', '.join(by_rule)}." if by_rule else ""),
        ("held whole", "variables", "shape", "bytes", "share"),
        _limited(rows),
        advice,
    )


# LoRA.


def _require_adapters(found: "Adapters", targets: Sequence[str]) -> None:
    if not found.weights:
        raise Failed("NOTHING_TO_CHECK", "The model has no weights.", advice="Build the model first.")
    evidence = _layers_by_name(found, targets)
    adapted = any(layer.adapters for layer in found.layers)
    if not found.trainable:
        raise Failed(
            "LORA_NOTHING_TRAINABLE",
            f"None of the model's {len(found.weights)} weights is trainable"
            + (", its adapters are frozen too." if adapted else ", and no layer has an adapter."),
            *evidence,
            advice="Compare the names that LoRA was enabled for with those of the layers: one that fits none raises no error.",
        )
    if not adapted:
        raise Failed(
            "NOTHING_TO_CHECK",
            f"No layer has an adapter, and {_size(found.trainable):,} of the {_size(found.weights):,} parameters are trainable.",
            *evidence,
            advice=f"Enable LoRA: backbone.enable_lora(rank, target_layer_names={list(targets)!r}).",
        )


def _layers_by_name(found: "Adapters", targets: Sequence[str]) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    names = dict.fromkeys([*targets, *(layer.name for layer in found.layers)])
    rows: list[tuple[Any, ...]] = []
    for name in names:
        layers = [layer for layer in found.layers if layer.name == name]
        have = sum(layer.adapters is not None for layer in layers)
        rows.append((name, "adapters" if name in targets else "none", f"{have} of {len(layers)} layers have them"))
    return ("layers named", "wanted", "found"), _limited(rows)


def _judge_targets(found: "Adapters", targets: Sequence[str]) -> None:
    evidence = _layers_by_name(found, targets)
    advice = (
        f"Pass the names on, and spell them as the model does: enable_lora(rank, target_layer_names={list(targets)!r})."
    )
    names = {layer.name for layer in found.layers}
    missing = [name for name in targets if name not in names]
    bare = [layer.path for layer in found.layers if layer.name in targets and layer.adapters is None]
    surplus = [layer.path for layer in found.layers if layer.name not in targets and layer.adapters is not None]
    for paths, cause in (
        (missing, "No layer that can have an adapter is named {0}."),
        (bare, "{1} targeted layers have no adapter, for example {0}."),
        (surplus, "{1} layers have an adapter and are no target, for example {0}."),
    ):
        if paths:
            raise Failed("LORA_WRONG_TARGETS", cause.format(paths[0], len(paths)), *evidence, advice=advice)


def _adapted(found: "Adapters") -> "list[tuple[AdaptableLayer, tuple[VariableInfo, VariableInfo]]]":
    return [(layer, layer.adapters) for layer in found.layers if layer.adapters is not None]


def _judge_rank(found: "Adapters", rank: int) -> None:
    wrong = [(layer, a.shape[-1]) for layer, (a, _) in _adapted(found) if a.shape[-1] != rank]
    if wrong:
        raise Failed(
            "LORA_WRONG_RANK",
            f"{len(wrong)} of {len(_adapted(found))} adapters have another rank than {rank}.",
            ("layer", "expected", "found"),
            _limited([(layer.path, rank, its_rank) for layer, its_rank in wrong]),
            "Pass the rank on to enable_lora; a second call does not change it.",
        )


def _judge_base(found: "Adapters", kept: set[str]) -> None:
    allowed = kept | {adapter.path for _, pair in _adapted(found) for adapter in pair}
    surplus = [weight for weight in found.trainable if weight.path not in allowed]
    if not surplus:
        return
    biases = {layer.bias.path for layer, _ in _adapted(found) if layer.bias}
    groups = _grouped((weight.path, weight.shape, weight.nbytes) for weight in surplus)
    raise Failed(
        "LORA_BASE_NOT_FROZEN",
        f"{len(surplus)} weights that are no adapters are trainable, {_size(surplus):,} parameters of the "
        f"{_size(found.trainable):,} that are.",
        ("trainable", "weights", "shape", "bytes"),
        _limited([(label, count, as_tuple(shape), as_bytes(nbytes)) for label, count, shape, nbytes in groups]),
        "These are biases of targeted layers, which KerasHub leaves trainable: set bias.trainable = False, or say "
        "train_biases=True if they are meant to be trained."
        if all(weight.path in biases for weight in surplus)
        else "Freeze what is no adapter: enable LoRA last, and set no layer to trainable after that.",
    )


def _judge_count(found: "Adapters", rank: int, kept: set[str]) -> int:
    rows: list[tuple[Any, ...]] = []
    for layer, pair in _adapted(found):
        for adapter, shape in zip(pair, layer.expected_shapes(rank), strict=True):
            if adapter.shape != shape or not adapter.trainable:
                rows.append(
                    (adapter.path, as_tuple(shape), as_tuple(adapter.shape), "" if adapter.trainable else "frozen")
                )
    expected = sum(math.prod(shape) for layer, _ in _adapted(found) for shape in layer.expected_shapes(rank))
    counted = _size(weight for weight in found.trainable if weight.path not in kept)
    if rows or counted != expected:
        rows.append(("in all", as_count(expected), as_count(counted), ""))
        raise Failed(
            "LORA_WRONG_COUNT",
            f"{counted:,} parameters of the adapters are trainable, and by the kernels' shapes it should be {expected:,}.",
            ("adapter", "expected", "found", ""),
            _limited(rows),
            "A has shape kernel.shape[:-1] + (rank,), B has (rank, kernel.shape[-1]); both are trained.",
        )
    return _size(found.trainable)


def _size(variables: "Iterable[VariableInfo]") -> int:
    return sum(variable.size for variable in variables)


# The loss on several meshes.


def _require_meshes(shapes: Sequence[tuple[int, int]], batch: Any) -> None:
    import keras

    count = len(keras.distribution.list_devices())
    wrong = [shape for shape in shapes if not 1 < math.prod(shape) <= count or min(shape) < 1]
    if not shapes or wrong:
        what = f"The mesh {as_tuple(wrong[0])} takes {math.prod(wrong[0])} devices" if wrong else "There is no mesh"
        raise Failed(
            "NOTHING_TO_CHECK",
            f"{what}, and {count} {'is' if count == 1 else 'are'} here; it must be at least 2, and no more than there are.",
            advice="Set `simulated_devices = 8` in pytest's ini file, or choose other meshes.",
        )
    examples = _examples(batch)
    uneven = [shape for shape in shapes if examples % shape[0]]
    if not examples or uneven:
        raise Failed(
            "LAYOUT_AXIS_DOES_NOT_DIVIDE" if examples else "NOTHING_TO_CHECK",
            f"The batch has {examples} examples"
            + (
                f", which the mesh {as_tuple(uneven[0])} cannot split into {uneven[0][0]} equal parts."
                if uneven
                else "."
            ),
            advice="Choose as many examples as each mesh's first size divides.",
        )


def _examples(batch: Any) -> int:
    """The number of examples of what train_on_batch takes: x alone or a tuple that begins with it."""
    x = batch[0] if isinstance(batch, tuple) else batch
    while isinstance(x, dict):
        x = next(iter(x.values()))
    # Several inputs of a functional model, and not several texts.
    if isinstance(x, (list, tuple)) and x and hasattr(x[0], "shape") and x[0].shape:
        x = x[0]
    return len(x)


def _require_losses(twin: "Trajectory", rtol: float) -> None:
    row = ("one device", *(f"{loss:.8g}" for loss in twin.losses))
    evidence = (("mesh", *_steps(twin)), [row])
    if not all(map(math.isfinite, twin.losses)):
        raise Failed(
            "LOSS_NOT_FINITE",
            "A loss on one device is not finite, so that no mesh can be compared with it.",
            *evidence,
            advice="Look at the batch (labels in range, at least one example with a weight) and at the loss.",
        )
    if not any(abs(later - twin.losses[0]) > rtol * abs(twin.losses[0]) for later in twin.losses[1:]):
        raise Failed(
            "NOTHING_TO_CHECK",
            f"Training on one device changes the loss by no more than the tolerance, {rtol:g} of it: the steps show nothing.",
            *evidence,
            advice="Compile with a learning rate that shows, and see to it that something is trainable.",
        )


def _steps(twin: "Trajectory") -> list[str]:
    return ["loss", *(f"after {step} step{'s' if step > 1 else ''}" for step in range(1, len(twin.losses)))]


def _layout_map(
    layout_map_for: Callable[["keras.distribution.DeviceMesh"], "keras.distribution.LayoutMap"],
    shape: tuple[int, int],
    axis_names: tuple[str, str],
    twin: "Trajectory",
) -> "keras.distribution.LayoutMap":
    import keras

    devices = keras.distribution.list_devices()[: math.prod(shape)]
    mesh = keras.distribution.DeviceMesh(shape, list(axis_names), devices)
    layout_map = layout_map_for(mesh)
    if not isinstance(layout_map, keras.distribution.LayoutMap) or layout_map.device_mesh is not mesh:
        raise TypeError("layout_map_for must return a keras.distribution.LayoutMap of the device mesh that it is given")
    coverage, _ = _cover(layout_map, twin.variables)
    _judge_rules(coverage, layout_map, every_rule_matches=False)
    if len(coverage.replicated) == len(twin.variables) and shape[1] > 1:
        raise Failed(
            "NOTHING_TO_CHECK",
            f"On the mesh {as_tuple(shape)} the layout map splits none of the model's {len(twin.variables)} variables.",
            ("rule", "variables"),
            [(rule.pattern, len(rule.paths)) for rule in coverage.rules],
            "Compare its rules with the model's paths (check_layout_coverage).",
        )
    return layout_map


def _require_place(run: "Trajectory", devices: int, where: str) -> None:
    """The weights are on all devices that they are to be computed with on, and on no other."""
    elsewhere = [placement for placement in run.placements if placement.device_count != devices]
    if elsewhere:
        raise Failed(
            "LOADING_DISTRIBUTION_TOO_LATE",
            f"{len(elsewhere)} of the {len(run.placements)} weights of the model for {where} are elsewhere.",
            ("for example", "devices", "wanted"),
            [(placement.path, placement.device_count, devices) for placement in elsewhere[:3]],
            "Build the model within make_model, anew at each call: a variable takes its place when it is created.",
        )


def _require_same(twin: "Trajectory", run: "Trajectory", shape: tuple[int, int]) -> None:
    """The model that was built on a mesh begins as the one on one device does."""
    different = twin.first_difference(run) if len(twin.variables) == len(run.variables) else None
    if different or len(twin.variables) != len(run.variables):
        raise Failed(
            "MODEL_NOT_REPRODUCIBLE",
            f"make_model built another model for the mesh {as_tuple(shape)} than for one device, before any training.",
            ("", "one device", f"mesh {as_tuple(shape)}"),
            [("variables", len(twin.variables), len(run.variables))]
            + ([(different[0].path, "", f"differs by up to {different[1]:.3g}")] if different else []),
            "Let make_model draw from Keras' random numbers, or seed what it draws from, or load the same weights.",
        )


def _judge_losses(twin: "Trajectory", runs: "dict[tuple[int, int], Trajectory]", rtol: float) -> None:
    rows: list[tuple[Any, ...]] = [("one device", *(f"{loss:.8g}" for loss in twin.losses), "")]
    wrong = []
    for shape, run in runs.items():
        differences = [
            abs(loss - expected) / max(abs(expected), sys.float_info.min)
            for loss, expected in zip(run.losses, twin.losses, strict=True)
        ]
        # Not a number is no small difference.
        if not all(difference <= rtol for difference in differences):
            wrong.append(shape)
        worst = max(differences, key=lambda difference: math.inf if math.isnan(difference) else difference)
        rows.append((as_tuple(shape), *(f"{loss:.8g}" for loss in run.losses), f"{worst:.1e}"))
    if wrong:
        meshes = " and ".join(as_tuple(shape) for shape in wrong)
        raise Failed(
            "LOSS_DEPENDS_ON_MESH",
            f"On the mesh{'es' if len(wrong) > 1 else ''} {meshes} a loss differs from that on one device by more than {rtol:g} of it.",
            ("mesh", *_steps(twin), "relative difference"),
            rows,
        )
