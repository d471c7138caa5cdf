"""Checks of the exercise ``lora``."""

import math
from typing import Any

from kit.course.shared import tensor_parallel as oracle
from kit.course.shared import small_models as small
from kit.course.shared.meshes import mesh_shapes
from kit.checks.diagnosis import Failed
from kit.judge.submission import Submission
from kit.models.architectures import GEMMA_2B, GEMMA_7B, gemma_config
from kit.models.weightless import build_language_model, no_weights

TARGETS = ("query", "value")


def adapters(submission: Submission) -> None:
    """Adapters of that rank stand beside query and value, and nothing else is trained."""
    small.set_distribution(*mesh_shapes()[0])
    for rank in (4, 3):
        model = small.small_model(rank=0)
        before = {variable.path for variable in model.trainable_variables}
        blocks = oracle.SMALL_SIZES["num_layers"]
        assert before, "the small model has nothing to train"
        submission.call("enable_lora", model, rank)
        trainable = {variable.path: tuple(variable.shape) for variable in model.trainable_variables}
        expected = {path: shape for block in range(blocks) for path, shape in _expected_adapters(block, rank).items()}
        if trainable == expected:
            continue
        base = sorted(path for path in trainable if "lora_" not in path)
        found = sorted(path for path in trainable if "lora_" in path)
        rows: list[tuple[Any, ...]] = [("trainable variables", len(expected), len(trainable))]
        if not trainable:
            raise Failed(
                "LORA_NOTHING_TRAINABLE",
                "After enable_lora the model has no trainable variable, and training would change nothing.",
                ("", "expected", "yours"),
                rows,
            )
        if base and not found:
            raise Failed(
                "LORA_NOTHING_TRAINABLE" if not _any_adapter(model) else "LORA_BASE_NOT_FROZEN",
                "enable_lora added no adapter: all that is trained is the model itself.",
                ("", "expected", "yours"),
                [*rows, ("for example", next(iter(expected)), base[0])],
            )
        if base:
            raise Failed(
                "LORA_BASE_NOT_FROZEN",
                f"{len(base)} variables of the model itself are trained beside the adapters.",
                ("", "expected", "yours"),
                [*rows, *(("not frozen", "", path) for path in base[:4])],
            )
        if set(found) != set(expected):
            rows += [("missing", path, "") for path in sorted(set(expected) - set(found))[:3]]
            rows += [("not wanted", "", path) for path in sorted(set(found) - set(expected))[:3]]
            raise Failed(
                "LORA_WRONG_TARGETS", "The adapters stand beside other layers.", ("", "expected", "yours"), rows
            )
        path = next(path for path in expected if trainable[path] != expected[path])
        raise Failed(
            "LORA_WRONG_RANK",
            f"enable_lora(model, {rank}) made adapters of another rank.",
            ("variable", "expected shape", "yours"),
            [(path, expected[path], trainable[path])],
        )


def counts(submission: Submission) -> None:
    """Trainable and all parameters of a small model, and of Gemma 2B and 7B with LoRA."""
    for what, config, rank, expected in (
        ("a small Gemma", oracle.small_config(), 0, _total(oracle.SMALL_SIZES, 0)),
        ("a small Gemma with LoRA of rank 3", oracle.small_config(), 3, _total(oracle.SMALL_SIZES, 3)),
        # Counted by hand from the published sizes; the last is the tutorial's own number.
        ("Gemma 2B with LoRA of rank 4", GEMMA_2B, 4, (1_363_968, 2_506_172_416 + 1_363_968)),
        ("Gemma 7B with LoRA of rank 4", GEMMA_7B, 4, (11_067_392, 8_548_748_288)),
    ):
        with no_weights():
            model = build_language_model(config)
            if rank:
                model.backbone.enable_lora(rank, target_layer_names=list(TARGETS))
            result = submission.call("count_parameters", model, returns=tuple)
        found = tuple(int(number) if _is_number(number) else number for number in result)
        if found != expected:
            raise Failed(
                "LORA_WRONG_COUNT",
                f"count_parameters returned other numbers than {what} has.",
                ("", "trainable", "all"),
                [("expected", *_shown(expected)), ("yours", *(_shown(found) if len(found) == 2 else (found, "")))],
                advice="Count the elements of each weight, the product of its shape: once over the trainable ones, once over all.",
            )


def arithmetic(submission: Submission) -> None:
    """The closed form at 2B, at 7B, and with fewer key and value heads."""
    odd = gemma_config(**{**oracle.SMALL_SIZES, "num_layers": 5})
    for what, config, rank in (
        ("Gemma 7B", GEMMA_7B, 4),
        ("Gemma 2B, which has one key and value head,", GEMMA_2B, 4),
        ("Gemma 2B, which has one key and value head,", GEMMA_2B, 9),
        ("a small Gemma with 16 query and 8 value heads", odd, 1),
    ):
        sizes = config["config"]
        expected = sum(math.prod(shape) for shape in _expected_adapters(0, rank, sizes).values()) * sizes["num_layers"]
        found = submission.call("expected_lora_parameters", dict(sizes), rank)
        if not _is_number(found):
            submission.expect_type("expected_lora_parameters", found, int)
        if found != expected:
            raise Failed(
                "LORA_WRONG_COUNT",
                f"expected_lora_parameters gives another number for {what} at rank {rank}.",
                ("expected", "yours"),
                [(f"{expected:,}", f"{found:,}")],
            )
    assert sum(math.prod(s) for s in _expected_adapters(0, 4, GEMMA_7B["config"]).values()) * 28 == 11_067_392


def _expected_adapters(block: int, rank: int, sizes: Any = oracle.SMALL_SIZES) -> dict[str, tuple[int, ...]]:
    """Shapes of the adapters of one block: A is the kernel's shape with the last dimension replaced by the rank."""
    heads = {"query": sizes["num_query_heads"], "value": sizes["num_key_value_heads"]}
    shapes: dict[str, tuple[int, ...]] = {}
    for name in TARGETS:
        path = f"decoder_block_{block}/attention/{name}/lora_kernel_"
        shapes[path + "a"] = (heads[name], sizes["hidden_dim"], rank)
        shapes[path + "b"] = (rank, sizes["head_dim"])
    return shapes


def _total(sizes: Any, rank: int) -> tuple[int, int]:
    """Trainable and all parameters of a Gemma, from its sizes alone."""
    hidden, head_dim = sizes["hidden_dim"], sizes["head_dim"]
    attention = hidden * head_dim * (2 * sizes["num_query_heads"] + 2 * sizes["num_key_value_heads"])
    # The intermediate dimension is that of both gating matrices together.
    feed_forward = 3 * hidden * (sizes["intermediate_dim"] // 2)
    base = sizes["vocabulary_size"] * hidden + sizes["num_layers"] * (attention + feed_forward + 2 * hidden) + hidden
    if not rank:
        return base, base
    added = sizes["num_layers"] * sum(math.prod(shape) for shape in _expected_adapters(0, rank, sizes).values())
    return added, base + added


def _any_adapter(model: Any) -> bool:
    return any("lora_" in variable.path for variable in model.variables)


def _is_number(value: Any) -> bool:
    return hasattr(value, "__index__") and not isinstance(value, bool)


def _shown(numbers: Any) -> tuple[str, ...]:
    return tuple(f"{number:,}" if isinstance(number, int) else repr(number) for number in numbers)
