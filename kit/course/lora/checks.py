"""The checks of the exercise ``lora``: trainable variables and parameter counts."""

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from hypothesis import strategies

from kit.checks.diagnosis import Failed
from kit.course.lora.mistakes import (
    COMPILED,
    COUNT_CASES,
    FORMULA_CASES,
    TUTORIAL,
    count_labels,
    counts_table,
    formula_table,
    lora_parameters,
)
from kit.course.shared import small_models
from kit.course.shared import tensor_parallel as oracle
from kit.course.shared.meshes import mesh_shapes, mesh_with_batch_axis
from kit.judge.observation import Outcome, Returned, expect_not_stopped, returned
from kit.judge.properties import observe_property
from kit.judge.submission import Submission
from kit.models.weightless import build_language_model, no_weights

TARGETS = ("query", "value")
#: What the default names of one of the models add, as those of a Gemma with a vision tower do.
OTHER_TARGET = "attention_output"


@dataclass(frozen=True)
class AdaptersSeen:
    """A model after ``enable_lora``."""

    #: Path -> shape of each trainable variable.
    trainable: dict[str, tuple[int, ...]]
    #: Path -> largest entry of each adapter, trainable or not.
    adapters: dict[str, float]
    #: Whether KerasHub's ``enable_lora`` was called on the backbone.
    called: bool
    #: Variables of the base model whose values have changed.
    changed: tuple[str, ...]


@dataclass(frozen=True)
class EnabledSeen:
    """What ``enable_lora`` makes of a model, and a second call of it."""

    first: Outcome[AdaptersSeen]
    #: Paths of the trainable variables after a second call, which must raise a ValueError.
    second: Outcome[list[str]]
    #: The same for another model that KerasHub has given LoRA of another rank.
    other_rank: Outcome[list[str]]


def observe_adapters(submission: Submission) -> dict[int, EnabledSeen]:
    """Rank -> the variables of a small model after ``enable_lora``.

    The second model is on another mesh where the devices allow one, and the default names of its
    backbone have a layer more.
    """
    seen = {}
    for rank, mesh in ((4, mesh_shapes()[0]), (3, mesh_with_batch_axis())):
        small_models.set_distribution(*mesh)
        model = small_models.small_model(rank=0)
        assert model.trainable_variables, "the small model has nothing to train"
        if rank == 3:
            model.backbone.default_lora_layer_names = lambda: [*TARGETS, OTHER_TARGET]
        before = small_models.values(model.variables)

        def read(_: Any, model: Any = model, before: dict[str, np.ndarray] = before) -> AdaptersSeen:
            after = small_models.values(model.variables)
            return AdaptersSeen(
                {str(variable.path): tuple(map(int, variable.shape)) for variable in model.trainable_variables},
                {path: float(np.abs(value).max()) for path, value in after.items() if "lora_" in path},
                hasattr(model.backbone, "_lora_rank"),
                tuple(path for path in before if path not in after or not np.array_equal(before[path], after[path])),
            )

        first = submission.observe("enable_lora", model, rank, reads=read)
        second = submission.observe(
            "enable_lora", model, rank, reads=functools.partial(_trained, model), expects=ValueError
        )
        model = small_models.small_model(rank=rank + 1)
        other_rank = submission.observe(
            "enable_lora", model, rank, reads=functools.partial(_trained, model), expects=ValueError
        )
        seen[rank] = EnabledSeen(first, second, other_rank)
    return seen


def _trained(model: Any, _: Any) -> list[str]:
    return sorted(str(variable.path) for variable in model.trainable_variables)


def judge_adapters(outcomes: dict[int, EnabledSeen]) -> None:
    """Only adapters of query and value are trained, and their shapes follow from the rank."""
    assert outcomes, "enable_lora was not called"
    for rank, enabled in outcomes.items():
        seen = returned(enabled.first)
        blocks = range(oracle.SMALL_SIZES["num_layers"])
        expected = {path: shape for block in blocks for path, shape in _expected_adapters(block, rank).items()}
        if seen.trainable != expected:
            _judge_trainable(seen, expected)
            path = next(path for path in expected if seen.trainable[path] != expected[path])
            cause = f"enable_lora(model, {rank}) made adapters of another rank."
            rows = [(path, expected[path], seen.trainable[path])]
            raise Failed("LORA_WRONG_RANK", cause, ("variable", "expected shape", "yours"), rows)
        filled = [path for path in expected if path.endswith("_b") and seen.adapters[path]]
        if filled or seen.changed:
            cause = "enable_lora changes what the model computes: " + (
                "B does not start at zero." if filled else "the values of the base model are not the same as before."
            )
            changes = [(path, "zeros", f"up to {seen.adapters[path]:.3g}") for path in filled]
            changes = changes or [(path, "unchanged", "other values") for path in seen.changed]
            remedy = "Leave the values to Keras: enabling LoRA does not change the outputs."
            raise Failed("NOT_AS_EXPECTED", cause, ("variable", "expected", "yours"), changes[:4], remedy)
        for outcome, rank_before in ((enabled.second, rank), (enabled.other_rank, rank + 1)):
            expect_not_stopped(outcome)
            if isinstance(outcome, Returned):
                _fail_second_call(sorted(expected), outcome.data, rank_before, rank)


def _fail_second_call(expected: list[str], found: list[str], before: int, rank: int) -> NoReturn:
    """The diagnosis of a second call that raises no error."""
    other = [path for path in found if path not in expected]
    cause = f"enable_lora(model, {rank}) raises no ValueError, though the model has adapters of rank {before} already"
    cause += ", and leaves other variables trainable." if found != expected else "."
    rows: list[tuple[Any, ...]] = [
        ("the call", "ValueError", "no error"),
        ("trainable variables", len(expected), len(found)),
        ("adapters among them", len(expected), len(found) - len(other)),
        ("for example", expected[0], (other or found or ["none"])[0]),
    ]
    raise Failed(
        "NOT_AS_EXPECTED",
        cause,
        ("a second call", "expected", "yours"),
        rows,
        "Let KerasHub's ValueError through, whatever the model has: do not return early, and do not catch it. Before "
        "it is raised, the call has already frozen the adapters.",
        "lora#Which layers",
    )


_FROZEN = "lora#What is frozen"
_ENABLE = (
    "Call the backbone's enable_lora with the rank and the two names: it freezes all layers, and adds adapters to "
    "those."
)
_KEEP_TRAINABLE = (
    "The names are right. Do not freeze the model after LoRA was enabled: the backbone's enable_lora freezes all else."
)


def _judge_trainable(seen: AdaptersSeen, expected: Mapping[str, tuple[int, ...]]) -> None:
    """The paths of the trainable variables are the expected ones."""
    base = sorted(path for path in seen.trainable if "lora_" not in path)
    found = sorted(path for path in seen.trainable if "lora_" in path)
    columns = ("", "expected", "yours")
    rows: list[tuple[Any, ...]] = [
        ("trainable variables", len(expected), len(seen.trainable)),
        ("variables of adapters", len(expected), len(seen.adapters)),
    ]
    if not found:
        if base:
            rows.append(("for example", next(iter(expected)), base[0]))
        _judge_nothing_trainable(seen, len(base), columns, rows)
    if base:
        cause = f"{len(base)} variables of the base model are trainable, besides the adapters."
        raise Failed("LORA_BASE_NOT_FROZEN", cause, columns, [*rows, *(("not frozen", "", path) for path in base[:4])])
    if set(found) != set(expected):
        missing, surplus = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
        rows += [("missing", path, "") for path in missing[:3]] + [("not expected", "", path) for path in surplus[:3]]
        frozen = sorted(set(missing) & set(seen.adapters))
        cause, remedy, anchor = "Other layers than query and value have adapters.", "", ""
        if frozen:
            cause = f"{len(frozen)} variables of adapters are frozen, for example {frozen[0]}."
            remedy, anchor = _KEEP_TRAINABLE, _FROZEN
        elif not missing and all(f"/{OTHER_TARGET}/" in path for path in surplus):
            cause = (
                f"This model's default names for LoRA are {', '.join((*TARGETS, OTHER_TARGET))}, and these layers have "
                "adapters."
            )
            remedy = 'Pass the names on, "query" and "value": the default names differ from one model to the next.'
        elif missing and not surplus:
            cause = f"{len(missing)} of the {len(expected)} variables of adapters are missing."
        raise Failed("LORA_WRONG_TARGETS", cause, columns, rows, remedy, anchor)


def _judge_nothing_trainable(
    seen: AdaptersSeen, base: int, columns: tuple[str, ...], rows: list[tuple[Any, ...]]
) -> None:
    """Raise the diagnosis of a model in which no adapter is trainable; ``base`` others are."""
    code, remedy, anchor = "LORA_NOTHING_TRAINABLE", _ENABLE, ""
    if seen.adapters:
        code = "LORA_BASE_NOT_FROZEN" if base else code
        cause = f"The model has adapters, and all {len(seen.adapters)} variables of them are frozen"
        cause += f"; {base} variables of the base model are trained instead." if base else "."
        remedy, anchor = _KEEP_TRAINABLE, _FROZEN
    elif base:
        cause = f"No layer has an adapter, and {base} variables of the base model are trainable."
    elif seen.called:
        cause = (
            "After enable_lora the model has no adapter and no trainable variable: no layer has one of the names that "
            "were passed to the backbone's enable_lora."
        )
        remedy = ""
    else:
        cause = "After enable_lora the model has no adapter and no trainable variable: it is frozen, and nothing else."
    raise Failed(code, cause, columns, rows, remedy, anchor)


Counts = tuple[Any, ...]


@dataclass(frozen=True)
class CountsSeen:
    """The pairs that ``count_parameters`` returned."""

    #: By the name of the model.
    counts: dict[str, Outcome[Counts]]
    #: Of the model :data:`COMPILED`, after it was compiled and its optimizer was built.
    compiled: Outcome[Counts]
    #: Elements of this optimizer's variables.
    optimizer: int


def observe_counts(submission: Submission) -> CountsSeen:
    """``count_parameters`` of small models, and of Gemma 2B and 7B with LoRA."""
    counts: dict[str, Outcome[Counts]] = {}
    compiled, optimizer = None, 0
    for name, config, rank in COUNT_CASES:
        with no_weights():
            model = build_language_model(config)
            if rank:
                model.backbone.enable_lora(rank, target_layer_names=list(TARGETS))
            counts[name] = _count(submission, model)
        if name == COMPILED:
            # `fit` builds the optimizer, too.
            small_models.compile_model(model, 1e-3, 1e-2)
            optimizer = sum(math.prod(variable.shape) for variable in model.optimizer.variables)
            compiled = _count(submission, model)
    assert compiled is not None, "no model was compiled"
    return CountsSeen(counts, compiled, optimizer)


def _count(submission: Submission, model: Any) -> Outcome[Counts]:
    return submission.observe("count_parameters", model, reads=lambda counts: tuple(map(_plain, counts)), returns=tuple)


def judge_counts(seen: CountsSeen) -> None:
    """Both counts are those of the closed form, or of published sizes."""
    table, counts = counts_table(), seen.counts
    # Counted by hand from the published sizes; the last is the number in Google's tutorial.
    assert list(table.right.values())[-4:] == [1_363_968, 2_506_172_416 + 1_363_968, TUTORIAL, 8_548_748_288]
    assert len(counts) == len(COUNT_CASES), "not all models were tried"
    found: dict[str, float] = {}
    for name, outcome in counts.items():
        numbers = returned(outcome)
        if len(numbers) != 2 or not all(isinstance(number, int) for number in numbers):
            cause = f"count_parameters does not return two whole numbers for {name}."
            remedy = "Return a tuple: the elements of the trainable weights, the elements of all weights."
            raise Failed("LORA_WRONG_COUNT", cause, ("expected", "yours"), [("two numbers", numbers)], remedy)
        found |= dict(zip(count_labels(name), numbers, strict=True))
    if not table.is_right(found):
        raise table.failure(
            found,
            "LORA_WRONG_COUNT",
            "The numbers that count_parameters returns are not those of the models.",
            "Count the elements of each weight, the product of its shape: once over the trainable weights, once over "
            "all weights.",
        )
    _judge_compiled(returned(seen.compiled), returned(counts[COMPILED]), seen.optimizer)


def _judge_compiled(found: Counts, right: Counts, optimizer: int) -> None:
    """A model that was compiled has the same counts as before."""
    if found == right:
        return
    cause = "After the model was compiled and its optimizer built, as by `fit`, count_parameters returns other numbers."
    if found == (right[0], right[1] + optimizer):
        cause = (
            f"After the model was compiled and its optimizer built, as by `fit`, the second number also counts the "
            f"{optimizer:,} elements of the optimizer's variables."
        )
    rows = [
        (what, *(f"{number:,}" if isinstance(number, int) else number for number in numbers))
        for what, *numbers in zip(("trainable", "all"), right, found, strict=False)
    ]
    remedy = "Count `model.trainable_weights` and `model.weights`: the optimizer's variables are not among them."
    raise Failed("LORA_WRONG_COUNT", cause, ("elements", "before", "after"), rows, remedy)


@dataclass(frozen=True)
class FormulaCall:
    """A call of ``expected_lora_parameters``, and its result."""

    label: str
    #: What the function reads of the backbone's ``get_config()``.
    sizes: dict[str, int]
    rank: int
    outcome: Outcome[int]
    #: Whether the architecture is the same after the call.
    architecture_kept: bool


#: The sizes that the closed form depends on.
_SIZES = ("num_layers", "num_query_heads", "num_key_value_heads", "hidden_dim", "head_dim")


def observe_arithmetic(submission: Submission) -> list[FormulaCall]:
    """``expected_lora_parameters`` for real, small and generated architectures."""
    calls = [_formula(submission, label, dict(sizes), rank) for label, sizes, rank in FORMULA_CASES]

    def observe(drawn: tuple[list[int], int, int]) -> FormulaCall:
        (layers, value_heads, hidden, head_dim), groups, rank = drawn
        numbers = (layers, groups * value_heads, value_heads, hidden, head_dim)
        sizes = {**FORMULA_CASES[-1][1], **dict(zip(_SIZES, numbers, strict=True))}
        return _formula(submission, "a generated architecture", sizes, rank)

    size = strategies.integers(1, 40)
    drawn = strategies.tuples(strategies.lists(size, min_size=4, max_size=4), strategies.integers(1, 8), size)
    return calls + observe_property(drawn, observe, _judge_formula)


def _formula(submission: Submission, label: str, architecture: dict[str, Any], rank: int) -> FormulaCall:
    function = "expected_lora_parameters"

    def read(number: Any) -> int:
        if not _is_integer(number):
            submission.expect_type(function, number, int)
        return int(number)

    given = dict(architecture)
    outcome = submission.observe(function, given, rank, reads=read)
    return FormulaCall(label, {key: architecture[key] for key in _SIZES}, rank, outcome, given == architecture)


def judge_arithmetic(calls: list[FormulaCall]) -> None:
    """The numbers are those of the closed form."""
    cases, generated = calls[: len(FORMULA_CASES)], calls[len(FORMULA_CASES) :]
    assert generated, "no generated architectures were tried"
    table = formula_table()
    assert next(iter(table.right.values())) == TUTORIAL
    found = {call.label: returned(call.outcome) for call in cases}
    if not table.is_right(found):
        raise table.failure(found, "LORA_WRONG_COUNT", "expected_lora_parameters returns wrong numbers.")
    for call in generated:
        _judge_formula(call)


def _judge_formula(call: FormulaCall) -> None:
    expected, found = lora_parameters(call.sizes, call.rank), returned(call.outcome)
    rows = [(*call.sizes.values(), call.rank, f"{expected:,}", f"{found:,}")]
    columns = ("layers", "query heads", "key and value heads", "hidden", "head_dim", "rank", "expected", "yours")
    if found != expected:
        cause = "expected_lora_parameters returns a wrong number for this architecture."
        raise Failed("LORA_WRONG_COUNT", cause, columns, rows)
    if not call.architecture_kept:
        cause = "expected_lora_parameters changes the architecture that it is given."
        raise Failed("NOT_AS_EXPECTED", cause, columns, rows, "Read the architecture, and do not write to it.")


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
