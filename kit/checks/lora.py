"""A check of LoRA: the adapters of the targeted layers are trained, and nothing else."""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from kit.checks.diagnosis import Failed
from kit.checks.failure import raises_check_failed
from kit.checks.tables import Row, grouped, limited
from kit.formatting import format_bytes, format_count, format_tuple

if TYPE_CHECKING:
    import keras

    from kit.evidence.adapters import AdaptableLayer, Adapters
    from kit.models.weightless import VariableInfo


@raises_check_failed
def check_lora_parameters(
    model: "keras.Model", rank: int, targets: Sequence[str] = ("query", "value"), train_biases: bool = False
) -> int:
    """Check that A and B of each targeted layer are trained, and that all else is frozen.

    The rank gives their shapes. A has ``kernel.shape[:-1] + (rank,)`` and B ``(rank,
    kernel.shape[-1])``; of an embedding (input_dim, rank) and (rank, output_dim). The check takes
    the kernels' shapes from the model and computes the rest.

    Args:
        model: With LoRA enabled, with or without weights.
        rank: Of the adapters.
        targets: Names of layers, as ``Backbone.enable_lora`` takes them.
        train_biases: Whether the biases of the targeted layers may be trained too. KerasHub leaves
            them trainable (Qwen 2 and GPT-2 have some).

    Returns:
        The number of trainable parameters.

    Raises:
        CheckFailed: NOTHING_TO_CHECK (no weights, or no layer with LoRA), LORA_NOTHING_TRAINABLE,
            LORA_WRONG_TARGETS, LORA_WRONG_RANK, LORA_BASE_NOT_FROZEN, LORA_WRONG_COUNT.
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


def _require_adapters(found: "Adapters", targets: Sequence[str]) -> None:
    if not found.weights:
        raise Failed("NOTHING_TO_CHECK", "The model has no weights.", remedy="Build the model first.")
    evidence = _layers_by_name(found, targets)
    adapted = bool(_adapted(found))
    _judge_frozen(found, evidence)
    if not found.trainable:
        raise Failed(
            "LORA_NOTHING_TRAINABLE",
            f"None of the model's {len(found.weights)} weights is trainable, and no layer has an adapter.",
            *evidence,
            remedy="Compare the names that you enabled LoRA for with the layers' names: Keras ignores an unknown name.",
        )
    if not adapted:
        raise Failed(
            "NOTHING_TO_CHECK",
            f"No layer has an adapter: {_size(found.trainable):,} of the {_size(found.weights):,} parameters are "
            "trainable.",
            *evidence,
            remedy=f"Enable LoRA: backbone.enable_lora(rank, target_layer_names={list(targets)!r}).",
        )


def _judge_frozen(found: "Adapters", evidence: tuple[tuple[str, ...], list[Row]]) -> None:
    """If there are adapters, at least one is trained."""
    pairs = [pair for _, pair in _adapted(found)]
    if not pairs or any(variable.trainable for pair in pairs for variable in pair):
        return
    causes, remedy = frozen_adapters([layer.frozen_by for layer, _ in _adapted(found)])
    headings, rows = evidence
    raise Failed(
        "LORA_NOTHING_TRAINABLE",
        f"{len(pairs)} layer{'s have adapters' if len(pairs) > 1 else ' has an adapter'}, but no matrix of them is "
        f"trainable: {causes}.",
        headings,
        [*rows, ("trainable weights", "A and B", str(len(found.trainable)))],
        remedy,
    )


def frozen_adapters(frozen_by: Iterable[str]) -> tuple[str, str]:
    """What freezes adapters, as a cause without a full stop, and the remedy."""
    frozen = list(dict.fromkeys(frozen_by))
    more = f" and {len(frozen) - 2} more" if len(frozen) > 2 else ""
    causes = f"trainable = False is set on {(', ' if more else ' and ').join(frozen[:2])}{more}"
    remedy = (
        "Enable LoRA last, and set nothing to trainable = False after that: enable_lora freezes the base itself, and "
        "trainable = False of a layer or model freezes its adapters, too."
    )
    return causes, remedy


def _layers_by_name(found: "Adapters", targets: Sequence[str]) -> tuple[tuple[str, ...], list[Row]]:
    """Headings and rows."""
    rows: list[Row] = []
    for name in dict.fromkeys([*targets, *(layer.name for layer in found.layers)]):
        layers = [layer for layer in found.layers if layer.name == name]
        have = sum(layer.adapters is not None for layer in layers)
        rows.append((name, "adapters" if name in targets else "none", f"adapters in {have} of {len(layers)} layers"))
    return ("layers named", "expected", "found"), limited(rows)


def _judge_targets(found: "Adapters", targets: Sequence[str]) -> None:
    names = {layer.name for layer in found.layers}
    missing = [name for name in targets if name not in names]
    bare = [layer.path for layer in found.layers if layer.name in targets and layer.adapters is None]
    surplus = [layer.path for layer in found.layers if layer.name not in targets and layer.adapters is not None]
    for paths, cause in (
        (missing, "No layer that LoRA can be enabled for is named {0}."),
        (bare, "{1} targeted layers have no adapter, for example {0}."),
        (surplus, "{1} layers have an adapter and are not targeted, for example {0}."),
    ):
        if paths:
            raise Failed(
                "LORA_WRONG_TARGETS",
                cause.format(paths[0], len(paths)),
                *_layers_by_name(found, targets),
                remedy="Pass these names to LoRA, spelled as the model spells them: "
                f"enable_lora(rank, target_layer_names={list(targets)!r}).",
            )


def _adapted(found: "Adapters") -> "list[tuple[AdaptableLayer, tuple[VariableInfo, VariableInfo]]]":
    """The layers with LoRA, each with A and B."""
    return [(layer, layer.adapters) for layer in found.layers if layer.adapters is not None]


def _judge_rank(found: "Adapters", rank: int) -> None:
    wrong = [(layer, a.shape[-1]) for layer, (a, _) in _adapted(found) if a.shape[-1] != rank]
    if wrong:
        raise Failed(
            "LORA_WRONG_RANK",
            f"{len(wrong)} of {len(_adapted(found))} adapters do not have rank {rank}.",
            ("layer", "expected", "found"),
            limited([(layer.path, rank, its_rank) for layer, its_rank in wrong]),
            "Pass the rank on to enable_lora; a second call does not change it.",
        )


def _judge_base(found: "Adapters", kept: set[str]) -> None:
    allowed = kept | {adapter.path for _, pair in _adapted(found) for adapter in pair}
    surplus = [weight for weight in found.trainable if weight.path not in allowed]
    if not surplus:
        return
    biases = {layer.bias.path for layer, _ in _adapted(found) if layer.bias}
    raise Failed(
        "LORA_BASE_NOT_FROZEN",
        f"{len(surplus)} weights outside the adapters are trainable: {_size(surplus):,} of the "
        f"{_size(found.trainable):,} trainable parameters.",
        ("trainable", "weights", "shape", "bytes"),
        limited(
            [(each.label, each.count, format_tuple(each.shape), format_bytes(each.nbytes)) for each in grouped(surplus)]
        ),
        "These are biases of targeted layers, which KerasHub leaves trainable: set bias.trainable = False, or pass "
        "train_biases=True to train them."
        if all(weight.path in biases for weight in surplus)
        else "Freeze the base model: enable LoRA last, and set no layer to trainable after that.",
    )


def _judge_count(found: "Adapters", rank: int, kept: set[str]) -> int:
    rows: list[Row] = []
    expected = 0
    for layer, pair in _adapted(found):
        for adapter, shape in zip(pair, layer.expected_shapes(rank), strict=True):
            expected += math.prod(shape)
            if adapter.shape != shape or not adapter.trainable:
                frozen = "" if adapter.trainable else "frozen"
                rows.append((adapter.path, format_tuple(shape), format_tuple(adapter.shape), frozen))
    counted = _size(weight for weight in found.trainable if weight.path not in kept)
    if rows or counted != expected:
        rows.append(("total", format_count(expected), format_count(counted), ""))
        causing = [layer.frozen_by for layer, _ in _adapted(found) if layer.frozen_by]
        if causing and all(row[1] == row[2] for row in rows[:-1]):
            causes, remedy = frozen_adapters(causing)
            cause = f"{len(rows) - 1} matrices of the adapters are frozen: {causes}."
            raise Failed("LORA_WRONG_COUNT", cause, ("adapter", "expected", "found", ""), limited(rows), remedy)
        raise Failed(
            "LORA_WRONG_COUNT",
            f"{counted:,} parameters of the adapters are trainable; the kernels' shapes give {expected:,}.",
            ("adapter", "expected", "found", ""),
            limited(rows),
            "A has the shape kernel.shape[:-1] + (rank,), B has (rank, kernel.shape[-1]); train both.",
        )
    return _size(found.trainable)


def _size(variables: "Iterable[VariableInfo]") -> int:
    return sum(variable.size for variable in variables)
