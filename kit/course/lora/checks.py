"""The checks of the exercise ``lora``: trainable variables and parameter counts."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kit.checks.diagnosis import Failed
from kit.course.shared import small_models
from kit.course.shared import tensor_parallel as oracle
from kit.course.shared.meshes import mesh_shapes
from kit.judge.observation import Outcome, returned
from kit.judge.submission import Submission
from kit.models.architectures import GEMMA_2B, GEMMA_7B, gemma_config
from kit.models.weightless import build_language_model, no_weights

TARGETS = ("query", "value")


@dataclass(frozen=True)
class AdaptersSeen:
    """A model after ``enable_lora``."""

    #: Path -> shape of each trainable variable.
    trainable: dict[str, tuple[int, ...]]
    #: Whether the model has an adapter, trainable or not.
    has_adapters: bool


def observe_adapters(submission: Submission) -> dict[int, Outcome[AdaptersSeen]]:
    """Rank -> the trainable variables of a small model after ``enable_lora``."""
    small_models.set_distribution(*mesh_shapes()[0])
    seen = {}
    for rank in (4, 3):
        model = small_models.small_model(rank=0)
        assert model.trainable_variables, "the small model has nothing to train"

        def read(_: Any, model: Any = model) -> AdaptersSeen:
            return AdaptersSeen(
                {str(variable.path): tuple(map(int, variable.shape)) for variable in model.trainable_variables},
                any("lora_" in variable.path for variable in model.variables),
            )

        seen[rank] = submission.observe("enable_lora", model, rank, reads=read)
    return seen


def judge_adapters(outcomes: dict[int, Outcome[AdaptersSeen]]) -> None:
    """Only adapters of query and value are trained, and their shapes follow from the rank."""
    assert outcomes, "enable_lora was not called"
    for rank, outcome in outcomes.items():
        seen = returned(outcome)
        blocks = range(oracle.SMALL_SIZES["num_layers"])
        expected = {path: shape for block in blocks for path, shape in _expected_adapters(block, rank).items()}
        if seen.trainable != expected:
            _judge_trainable(seen, expected)
            path = next(path for path in expected if seen.trainable[path] != expected[path])
            cause = f"enable_lora(model, {rank}) made adapters of another rank."
            rows = [(path, expected[path], seen.trainable[path])]
            raise Failed("LORA_WRONG_RANK", cause, ("variable", "expected shape", "yours"), rows)


def _judge_trainable(seen: AdaptersSeen, expected: Mapping[str, tuple[int, ...]]) -> None:
    """The paths of the trainable variables are the expected ones."""
    base = sorted(path for path in seen.trainable if "lora_" not in path)
    found = sorted(path for path in seen.trainable if "lora_" in path)
    columns = ("", "expected", "yours")
    rows: list[tuple[Any, ...]] = [("trainable variables", len(expected), len(seen.trainable))]
    if not seen.trainable:
        cause = "After enable_lora the model has no trainable variable: training cannot change anything."
        raise Failed("LORA_NOTHING_TRAINABLE", cause, columns, rows)
    if base and not found:
        raise Failed(
            "LORA_BASE_NOT_FROZEN" if seen.has_adapters else "LORA_NOTHING_TRAINABLE",
            "No adapter is trainable after enable_lora, only variables of the base model.",
            columns,
            [*rows, ("for example", next(iter(expected)), base[0])],
        )
    if base:
        cause = f"{len(base)} variables of the base model are trainable, besides the adapters."
        raise Failed("LORA_BASE_NOT_FROZEN", cause, columns, [*rows, *(("not frozen", "", path) for path in base[:4])])
    if set(found) != set(expected):
        rows += [("missing", path, "") for path in sorted(set(expected) - set(found))[:3]]
        rows += [("not expected", "", path) for path in sorted(set(found) - set(expected))[:3]]
        raise Failed("LORA_WRONG_TARGETS", "Other layers than query and value have adapters.", columns, rows)


def observe_counts(submission: Submission) -> dict[str, Outcome[tuple[Any, ...]]]:
    """Name -> ``count_parameters`` of a small model, and of Gemma 2B and 7B with LoRA."""
    counts = {}
    for name, config, rank in (
        ("a small Gemma", oracle.small_config(), 0),
        ("a small Gemma with LoRA of rank 3", oracle.small_config(), 3),
        ("Gemma 2B with LoRA of rank 4", GEMMA_2B, 4),
        ("Gemma 7B with LoRA of rank 4", GEMMA_7B, 4),
    ):
        with no_weights():
            model = build_language_model(config)
            if rank:
                model.backbone.enable_lora(rank, target_layer_names=list(TARGETS))
            counts[name] = submission.observe(
                "count_parameters", model, reads=lambda counts: tuple(map(_plain, counts)), returns=tuple
            )
    return counts


def judge_counts(counts: dict[str, Outcome[tuple[Any, ...]]]) -> None:
    """Both counts are those of the closed form, or of published sizes."""
    right = (
        _total(oracle.SMALL_SIZES, 0),
        _total(oracle.SMALL_SIZES, 3),
        # Counted by hand from the published sizes; the last is the number in Google's tutorial.
        (1_363_968, 2_506_172_416 + 1_363_968),
        (11_067_392, 8_548_748_288),
    )
    for (model, outcome), expected in zip(counts.items(), right, strict=True):
        found = returned(outcome)
        if found != expected:
            raise Failed(
                "LORA_WRONG_COUNT",
                f"The numbers that count_parameters returned are not those of {model}.",
                ("", "trainable", "all"),
                [("expected", *_shown(expected)), ("yours", *(_shown(found) if len(found) == 2 else (found, "")))],
                remedy="Count the elements of each weight, the product of its shape: once over the trainable weights, "
                "once over all weights.",
            )


@dataclass(frozen=True)
class FormulaCall:
    """A call of ``expected_lora_parameters``, and its result."""

    model: str
    #: The backbone's ``get_config()``.
    architecture: dict[str, Any]
    rank: int
    outcome: Outcome[int]


def observe_arithmetic(submission: Submission) -> list[FormulaCall]:
    """``expected_lora_parameters`` for Gemma 7B, Gemma 2B and a small model."""
    function = "expected_lora_parameters"

    def read(number: Any) -> int:
        if not _is_integer(number):
            submission.expect_type(function, number, int)
        return int(number)

    calls = []
    for name, config, rank in (
        ("Gemma 7B", GEMMA_7B, 4),
        ("Gemma 2B, which has one key and value head,", GEMMA_2B, 4),
        ("Gemma 2B, which has one key and value head,", GEMMA_2B, 9),
        ("a small Gemma with 16 query and 8 value heads", gemma_config(**{**oracle.SMALL_SIZES, "num_layers": 5}), 1),
    ):
        sizes = config["config"]
        outcome = submission.observe(function, dict(sizes), rank, reads=read)
        calls.append(FormulaCall(name, dict(sizes), rank, outcome))
    return calls


def judge_arithmetic(calls: list[FormulaCall]) -> None:
    """The numbers are those of the closed form."""
    assert calls, "expected_lora_parameters was not called"
    assert _elements(_expected_adapters(0, 4, GEMMA_7B["config"]).values()) * 28 == 11_067_392
    for call in calls:
        shapes = _expected_adapters(0, call.rank, call.architecture).values()
        expected, found = _elements(shapes) * call.architecture["num_layers"], returned(call.outcome)
        if found != expected:
            cause = f"expected_lora_parameters returns a wrong number for {call.model} at rank {call.rank}."
            raise Failed("LORA_WRONG_COUNT", cause, ("expected", "yours"), [(f"{expected:,}", f"{found:,}")])


def _expected_adapters(
    block: int, rank: int, sizes: Mapping[str, Any] = oracle.SMALL_SIZES
) -> dict[str, tuple[int, ...]]:
    """Shapes of a block's adapters: A has the kernel's shape, with the rank as last dimension."""
    heads = {"query": sizes["num_query_heads"], "value": sizes["num_key_value_heads"]}
    shapes: dict[str, tuple[int, ...]] = {}
    for name in TARGETS:
        path = f"decoder_block_{block}/attention/{name}/lora_kernel_"
        shapes[path + "a"] = (heads[name], sizes["hidden_dim"], rank)
        shapes[path + "b"] = (rank, sizes["head_dim"])
    return shapes


def _total(sizes: Mapping[str, Any], rank: int) -> tuple[int, int]:
    """Trainable and all parameters of a Gemma, from its sizes."""
    hidden, head_dim = sizes["hidden_dim"], sizes["head_dim"]
    attention = hidden * head_dim * (2 * sizes["num_query_heads"] + 2 * sizes["num_key_value_heads"])
    # The intermediate dimension is that of both gating matrices together.
    feed_forward = 3 * hidden * (sizes["intermediate_dim"] // 2)
    base = sizes["vocabulary_size"] * hidden + sizes["num_layers"] * (attention + feed_forward + 2 * hidden) + hidden
    if not rank:
        return base, base
    added = sizes["num_layers"] * _elements(_expected_adapters(0, rank, sizes).values())
    return added, base + added


def _elements(shapes: Iterable[tuple[int, ...]]) -> int:
    return sum(math.prod(shape) for shape in shapes)


def _is_integer(value: Any) -> bool:
    return hasattr(value, "__index__") and not isinstance(value, bool)


def _plain(value: Any) -> int | float | str:
    """A number as an int or a float, and any other value as text."""
    if _is_integer(value):
        return int(value)
    try:
        return repr(value) if isinstance(value, str) else float(value)
    except (TypeError, ValueError):
        return repr(value)


def _shown(numbers: Iterable[Any]) -> tuple[str, ...]:
    return tuple(f"{number:,}" if isinstance(number, int) else str(number) for number in numbers)
