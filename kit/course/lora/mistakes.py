"""The usual mistakes in parameter counts, computed from the sizes of the checks' models."""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from kit.course.shared import tensor_parallel as oracle
from kit.judge.mistakes import RIGHT, Mistake, MistakeTable, Names, Values
from kit.models.architectures import GEMMA_2B, GEMMA_7B, gemma_config

_CODE, _SECTION = "LORA_WRONG_COUNT", "lora#Counting"

#: Name, sizes and rank of the models of ``expected_lora_parameters``.
FORMULA_CASES: tuple[tuple[str, Mapping[str, Any], int], ...] = (
    ("Gemma 7B, rank 4", GEMMA_7B["config"], 4),
    ("Gemma 2B (1 key and value head), rank 4", GEMMA_2B["config"], 4),
    ("Gemma 2B (1 key and value head), rank 9", GEMMA_2B["config"], 9),
    ("16 query and 8 value heads, rank 1", gemma_config(**{**oracle.SMALL_SIZES, "num_layers": 5})["config"], 1),
)
#: The number in Google's tutorial.
TUTORIAL = 11_067_392


def _mistake(name: str, headline: str, remedy: str) -> Mistake:
    return Mistake(name, _CODE, headline, remedy, _SECTION)


FORMULA = (
    _mistake(
        "layers_left_out",
        "The number is that of one layer: the factor num_layers is missing (28 for Gemma 7B).",
        'Multiply by architecture["num_layers"].',
    ),
    _mistake(
        "one_layer_less", "One layer is missing.", 'Multiply by architecture["num_layers"]: each block has adapters.'
    ),
    _mistake(
        "query_heads_for_value",
        "The value has as many heads as the query here, which is true for Gemma 7B and not for Gemma 2B.",
        'Use architecture["num_key_value_heads"] for the value.',
    ),
    _mistake(
        "value_heads_for_query",
        "The query has as many heads as the value here, which is true for Gemma 7B and not for Gemma 2B.",
        'Use architecture["num_query_heads"] for the query.',
    ),
    _mistake(
        "query_alone", "Only the adapter of the query is counted, and that of the value is missing.", "Add the value's."
    ),
    _mistake(
        "value_alone", "Only the adapter of the value is counted, and that of the query is missing.", "Add the query's."
    ),
    _mistake("key_too", "The key is counted too, and has no adapter.", "Count query and value only."),
    _mistake(
        "b_once",
        "B is counted once for each layer, and both the query and the value have one.",
        "Count A and B of each projection.",
    ),
    _mistake("b_left_out", "B is left out.", "Add the elements of B, rank x head_dim, for each projection."),
    _mistake("a_left_out", "A is left out.", "Add the elements of A, heads x hidden x rank, for each projection."),
    _mistake(
        "b_for_each_head",
        "B is counted for each head, and all heads of a projection share one B of shape (rank, head_dim).",
        "Count rank x head_dim elements for B.",
    ),
    _mistake(
        "a_without_heads",
        "A is counted for one head only, and its shape is (heads, hidden, rank).",
        "Count heads x hidden x rank elements for A.",
    ),
    _mistake(
        "flat_matrices",
        "A is taken as (hidden, rank), and B as (rank, heads x head_dim): flattened kernels have such adapters. Or "
        "hidden_dim and head_dim are exchanged, which gives the same number.",
        "Take the shapes of the docstring: in Keras each head has its own part of A.",
    ),
    _mistake(
        "rank_left_out", "The rank is left out: the number is that of rank 1.", "Multiply by the rank that is given."
    ),
    _mistake("always_rank_4", "The rank is always 4, that of the tutorial.", "Multiply by the rank that is given."),
    _mistake(
        "complete_kernels",
        "The elements of the kernels themselves are counted, and not those of their adapters.",
        "Count A and B, whose inner size is the rank.",
    ),
    _mistake(
        "tensors",
        "The matrices are counted, four for each layer, and not their elements.",
        "Multiply the entries of each shape, and add the products.",
    ),
    _mistake(
        "tutorials_number",
        "The result is 11,067,392 for each architecture: the number of Gemma 7B at rank 4.",
        "Calculate the number from the architecture and the rank that are given.",
    ),
)
#: At most one of each group can be made.
_EXCLUSIVE = (
    {"layers_left_out", "one_layer_less"},
    {"query_alone", "value_alone", "key_too", "query_heads_for_value"},
    {"query_alone", "value_alone", "key_too", "value_heads_for_query"},
    {"query_alone", "value_alone", "b_once", "b_left_out", "b_for_each_head", "flat_matrices", "complete_kernels"},
    {"a_left_out", "a_without_heads", "flat_matrices", "complete_kernels"},
    {"a_left_out", "b_left_out", "b_once"},
    {"a_left_out", "a_without_heads", "query_alone", "value_alone"},
    {"rank_left_out", "always_rank_4", "complete_kernels"},
    {"query_heads_for_value", "value_heads_for_query"},
    # Without heads in A, only B could show their number.
    {"a_without_heads", "query_heads_for_value"},
    {"a_without_heads", "value_heads_for_query"},
    {"a_left_out", "query_heads_for_value"},
    {"a_left_out", "value_heads_for_query"},
)
_ALONE = {"tensors", "tutorials_number"}


def formula_table() -> MistakeTable:
    """The mistakes that the check ``arithmetic`` recognises."""
    return MistakeTable(FORMULA, _formula_values, relative=0.0, exclusive=_EXCLUSIVE)


def _formula_values(names: Names) -> Values | None:
    if len(names) > 1 and names & _ALONE:
        return None
    return {label: lora_parameters(sizes, rank, names) for label, sizes, rank in FORMULA_CASES}


def lora_parameters(sizes: Mapping[str, Any], rank: int, names: Names = RIGHT) -> int:
    """How many parameters LoRA adds to query and value, or what the mistakes give instead."""
    if "tutorials_number" in names:
        return TUTORIAL
    layers = 1 if "layers_left_out" in names else sizes["num_layers"] - ("one_layer_less" in names)
    if "tensors" in names:
        return 4 * int(layers)
    rank = 1 if "rank_left_out" in names else 4 if "always_rank_4" in names else rank
    query, value = sizes["num_query_heads"], sizes["num_key_value_heads"]
    heads = [
        value if "value_heads_for_query" in names else query,
        query if "query_heads_for_value" in names else value,
    ]
    if "query_alone" in names:
        heads = heads[:1]
    elif "value_alone" in names:
        heads = heads[1:]
    elif "key_too" in names:
        heads = [*heads, value]
    total = sum(_adapter(sizes, number, rank, names) for number in heads)
    if "b_once" in names:
        total -= (len(heads) - 1) * rank * sizes["head_dim"]
    return int(layers * total)


def _adapter(sizes: Mapping[str, Any], heads: int, rank: int, names: Names) -> int:
    """The elements of A and B of one projection."""
    hidden, head_dim = sizes["hidden_dim"], sizes["head_dim"]
    if "complete_kernels" in names:
        return heads * hidden * head_dim
    if "flat_matrices" in names:
        return rank * (hidden + heads * head_dim)
    a, b = (1 if "a_without_heads" in names else heads) * hidden * rank, rank * head_dim
    if "b_for_each_head" in names:
        b *= heads
    return (0 if "a_left_out" in names else a) + (0 if "b_left_out" in names else b)


#: The model that is counted again after it was compiled.
COMPILED = "a small Gemma with dropout and LoRA of rank 3"
#: Name, configuration and rank of the models of ``count_parameters``; rank 0 is without LoRA.
COUNT_CASES: tuple[tuple[str, dict[str, Any], int], ...] = (
    ("a small Gemma", oracle.small_config(), 0),
    # With dropout a model has other variables than weights: the states of random numbers.
    (COMPILED, oracle.small_config(dropout=0.1), 3),
    ("Gemma 2B with LoRA of rank 4", GEMMA_2B, 4),
    ("Gemma 7B with LoRA of rank 4", GEMMA_7B, 4),
)
COUNTS = (
    _mistake(
        "weights_counted",
        "The weights are counted, and not their elements.",
        "Multiply the entries of each shape, and add the products.",
    ),
    _mistake(
        "shapes_summed",
        "The entries of each shape are added, and not multiplied.",
        "Multiply the entries of each shape: `math.prod`.",
    ),
    _mistake(
        "bytes_counted", "These are bytes of float32, four for each element.", "Count elements, whatever their dtype."
    ),
    _mistake(
        "int32_overflow",
        "The numbers are added up in int32, which ends at 2,147,483,647: Gemma has more weights, and the number wraps "
        "around.",
        "Add Python's integers, as `math.prod(weight.shape)` returns them: those of JAX are int32.",
    ),
    _mistake(
        "frozen_for_all",
        "The second number counts the frozen weights, and not all weights.",
        "Take `model.weights` for the second number: it has the frozen and the trainable ones.",
    ),
    _mistake(
        "adapters_left_out",
        "The second number is that of the model without LoRA: the adapters are missing.",
        "Take `model.weights` for the second number, after LoRA was enabled.",
    ),
    _mistake(
        "adapters_twice",
        "The second number counts the trainable weights twice: all weights have them already.",
        "Take `model.weights` alone for the second number.",
    ),
    _mistake(
        "embedding_twice",
        "The second number counts the embedding twice: it is one matrix, which Gemma also uses for the outputs.",
        "Count each weight once.",
    ),
    _mistake(
        "all_twice",
        "Each weight is counted twice.",
        "Count each weight once: `model.weights` already has those of the backbone and of all layers.",
    ),
    _mistake(
        "variables_counted",
        "The second number counts all variables: the states of random numbers, which dropout has, are no weights.",
        "Take `model.weights`, and not `model.variables`.",
    ),
    _mistake(
        "all_for_trainable",
        "The first number counts all weights, and not the trainable ones.",
        "Take `model.trainable_weights` for the first number.",
    ),
    _mistake(
        "frozen_for_trainable",
        "The first number counts the frozen weights.",
        "Take `model.trainable_weights` for the first number.",
    ),
    _mistake("numbers_exchanged", "The two numbers are exchanged.", "Return the trainable elements first."),
)
#: Elements of the states of random numbers in a block with dropout: three states of two.
_STATES_OF_A_BLOCK = 6
_EXCLUSIVE_COUNTS = (
    {"variables_counted", "frozen_for_all", "adapters_left_out", "adapters_twice", "embedding_twice"},
    {"all_for_trainable", "frozen_for_trainable"},
    {"weights_counted", "shapes_summed", "bytes_counted"},
    # These numbers are small.
    {"int32_overflow", "weights_counted", "shapes_summed"},
    {"all_twice", "embedding_twice"},
    {"all_twice", "adapters_twice"},
)


def counts_table() -> MistakeTable:
    """The mistakes that the check ``counts`` recognises."""
    return MistakeTable(COUNTS, _count_values, relative=0.0, exclusive=_EXCLUSIVE_COUNTS)


def count_labels(name: str) -> tuple[str, str]:
    """The labels of both numbers of a model."""
    return f"{name}: trainable", f"{name}: all"


def _count_values(names: Names) -> Values:
    found: dict[str, float] = {}
    for name, config, rank in COUNT_CASES:
        found |= dict(zip(count_labels(name), _counts(config["config"], rank, names), strict=True))
    return found


def _counts(sizes: Mapping[str, Any], rank: int, names: Names) -> tuple[int, int]:
    """Trainable and all parameters, or what the mistakes give instead."""
    embedding, *rest = _base_shapes(sizes)
    count = functools.partial(_elements, names=names)
    base, added = count([embedding, *rest]), count(_adapter_shapes(sizes, rank))
    trainable, frozen = (added, base) if rank else (base, 0)
    everything = base + added
    second = everything
    if "frozen_for_all" in names:
        second = frozen
    elif "adapters_left_out" in names:
        second = base
    elif "adapters_twice" in names:
        second = everything + trainable
    elif "embedding_twice" in names:
        second = everything + count([embedding])
    elif "variables_counted" in names and sizes.get("dropout"):
        second = everything + _STATES_OF_A_BLOCK * sizes["num_layers"]
    first = trainable
    if "all_for_trainable" in names:
        first = everything
    elif "frozen_for_trainable" in names:
        first = frozen
    times = 2 if "all_twice" in names else 1
    numbers = times * first, times * second
    if "int32_overflow" in names:
        numbers = _as_int32(numbers[0]), _as_int32(numbers[1])
    return numbers[::-1] if "numbers_exchanged" in names else numbers


def _as_int32(number: int) -> int:
    return (number + 2**31) % 2**32 - 2**31


def _elements(shapes: Sequence[tuple[int, ...]], names: Names) -> int:
    if "weights_counted" in names:
        return len(shapes)
    if "shapes_summed" in names:
        return sum(map(sum, shapes))
    return (4 if "bytes_counted" in names else 1) * sum(map(math.prod, shapes))


def _base_shapes(sizes: Mapping[str, Any]) -> list[tuple[int, ...]]:
    """The shapes of a Gemma's weights, the embedding first."""
    hidden, head_dim = sizes["hidden_dim"], sizes["head_dim"]
    query, value = sizes["num_query_heads"], sizes["num_key_value_heads"]
    # The intermediate dimension is that of both gating matrices together.
    width = sizes["intermediate_dim"] // 2
    block = [
        (query, hidden, head_dim),
        *[(value, hidden, head_dim)] * 2,
        (query, head_dim, hidden),
        *[(hidden, width)] * 2,
        (width, hidden),
        *[(hidden,)] * 2,
    ]
    return [(sizes["vocabulary_size"], hidden), *block * sizes["num_layers"], (hidden,)]


def _adapter_shapes(sizes: Mapping[str, Any], rank: int) -> list[tuple[int, ...]]:
    """The shapes of all adapters of query and value; none for rank 0."""
    if not rank:
        return []
    heads = (sizes["num_query_heads"], sizes["num_key_value_heads"])
    block = [shape for number in heads for shape in ((number, sizes["hidden_dim"], rank), (rank, sizes["head_dim"]))]
    return block * sizes["num_layers"]


TABLES = {"arithmetic": formula_table, "counts": counts_table}
