"""The usual mistakes in the predictions of ``planning``."""

import functools
from collections.abc import Callable, Iterable, Sequence

from kit.course.planning import oracles
from kit.course.planning.cases import ACTIVATIONS, ARGUMENTS, CACHE, SENT, Case
from kit.judge.mistakes import Mistake, MistakeTable, Names, Values

#: The closed forms leave out step counts, metrics and the normalizer of the loss. These and the
#: compiler's padding are less than this share.
TOLERANCE = 0.01
_BYTES, _SPLIT, _MOMENTS, _DTYPE = (
    "PLANNING_WRONG_BYTES",
    "PLANNING_WRONG_SPLIT",
    "PLANNING_WRONG_MOMENTS",
    "PLANNING_WRONG_DTYPE",
)
_ACTIVATIONS, _CACHE, _SENT = "PLANNING_WRONG_ACTIVATIONS", "PLANNING_WRONG_CACHE", "PLANNING_WRONG_COLLECTIVES"


def _many(code: str, anchor: str, entries: Iterable[tuple[str, str, str]]) -> tuple[Mistake, ...]:
    return tuple(Mistake(name, code, headline, remedy, anchor) for name, headline, remedy in entries)


OF_ARGUMENTS = (
    *_many(
        _BYTES,
        "planning#What a core holds",
        (
            (
                "intermediate_not_halved",
                "Each feed-forward matrix has all of `intermediate_dim`, which is the width of both gating matrices "
                "together.",
                "Use half of `intermediate_dim` for each of the three matrices.",
            ),
            ("one_gating", "Only one of the two gating matrices is counted.", "Count three feed-forward matrices."),
            (
                "as_many_value_heads",
                "Key and value have as many heads as the queries here, in kernels and adapters.",
                "Use `num_key_value_heads` for key and value.",
            ),
            (
                "embeddings_twice",
                "The embeddings are counted twice. The logits use the same matrix.",
                "Count the embeddings once.",
            ),
            ("layers_forgotten", "Only one block is counted.", "Multiply by `num_layers`, for adapters as well."),
            ("scales_forgotten", "The normalization scales are missing.", "Add two scales per block, and one more."),
            (
                "last_scale_forgotten",
                "The scale after the last block is missing.",
                "Add one scale of `hidden_dim` elements to those of the blocks.",
            ),
            ("adapters_forgotten", "The adapters are missing.", "Add A and B of query and value, for each block."),
            (
                "query_heads_for_value",
                "The adapters of value have as many heads as those of the query.",
                "Use `num_key_value_heads` for the A of value.",
            ),
            (
                "b_for_each_head",
                "B is counted once for each head. All heads share it.",
                "Count B once per kernel: rank x head_dim.",
            ),
            ("rank_forgotten", "The adapters have rank 1.", "Multiply the adapters by the rank."),
        ),
    ),
    *_many(
        _MOMENTS,
        "planning#Moments",
        (
            ("no_moments", "There are no moments.", "Add two moments for each trained element."),
            ("one_moment", "There is one moment for each trained element.", "AdamW has two of them."),
            (
                "moments_of_frozen",
                "With LoRA, the frozen elements have moments too.",
                "Count moments of trained elements only.",
            ),
        ),
    ),
    *_many(
        _DTYPE,
        "planning#Dtypes",
        (
            ("dtype_ignored", "Every element takes four bytes.", '"bfloat16" stores the model in two bytes.'),
            (
                "mixed_is_half",
                '"mixed_bfloat16" counts as two bytes. It computes in bfloat16 and stores float32.',
                "Use the dtype in which the variables are stored.",
            ),
            ("adapters_in_dtype", "The adapters have the dtype of the model.", "Adapters are always float32."),
            (
                "moments_in_float32",
                "All moments take four bytes, also those of bfloat16 weights.",
                "A moment has the dtype of its variable.",
            ),
        ),
    ),
    *_many(
        _SPLIT,
        "planning#What a core holds",
        (
            ("not_split", "The matrices are replicated on each device.", "Divide matrices by the size of the axis."),
            (
                "over_batch",
                'The matrices are divided by the size of the axis "batch".',
                'Tensor parallelism splits over "model", the second size of the mesh.',
            ),
            (
                "over_all_devices",
                'The matrices are divided by the number of all devices, also with the layout "tensor".',
                'Only "fsdp" splits over "batch" as well.',
            ),
            (
                "fsdp_as_tensor",
                'With the layout "fsdp" the matrices are divided by the size of "model" alone.',
                'Divide by both sizes: "fsdp" splits over "batch" as well.',
            ),
            ("scales_split", "The scales are divided, too.", "Scales are replicated."),
            ("adapters_split", "The adapters are divided, too.", "Adapters are replicated."),
        ),
    ),
)
_COMPUTED = (
    ("elements", "These are elements, not bytes.", "Multiply by the bytes of an element."),
    (
        "always_float32",
        "Every element takes four bytes.",
        'With "bfloat16" and "mixed_bfloat16", what is computed takes two bytes.',
    ),
    (
        "stored_dtype",
        'With "mixed_bfloat16" an element takes four bytes here, as the stored weights do.',
        "Use the dtype of the computation: two bytes.",
    ),
    ("tokens_not_split", "Each device has the whole batch.", 'Divide the examples by the size of the axis "batch".'),
    ("blocks_forgotten", "Only one block is counted.", "Multiply by `num_layers`."),
)
OF_ACTIVATIONS = _many(
    _ACTIVATIONS,
    "planning#Activations on paper",
    (
        *_COMPUTED,
        (
            "inputs_split",
            'The inputs of the blocks are divided by the size of "model". Tensor parallelism splits matrices, and '
            "replicates what is between them.",
            "Divide only the logits by the size of this axis.",
        ),
        (
            "vocabulary_not_split",
            'The logits are not divided by the size of "model", which splits the vocabulary.',
            "Divide the vocabulary by the size of this axis.",
        ),
        (
            "logits_in_float32",
            "The logits take four bytes whatever the dtype is.",
            "The logits are in the dtype of the computation, as the inputs of the blocks are.",
        ),
        ("logits_forgotten", "The logits are missing.", "Add the logits: tokens x vocabulary."),
        (
            "tokens_over_all_devices",
            "The tokens are divided by the number of all devices.",
            'Devices of one row of the mesh have the same tokens: divide by the size of "batch".',
        ),
        ("length_forgotten", "Each example counts as one token.", "Multiply by the sequence length."),
    ),
)
OF_CACHE = _many(
    _CACHE,
    "planning#Memory while generating",
    (
        *_COMPUTED,
        ("keys_alone", "Only the keys, or only the values, are counted.", "Count both."),
        ("query_heads", "The cache has as many heads as the queries.", "Use `num_key_value_heads`."),
        (
            "heads_not_split",
            'The heads are not divided by the size of "model".',
            "Divide the heads if the axis divides them.",
        ),
        (
            "always_split",
            "The cache is divided even where the axis does not divide the heads: these are replicated.",
            "Divide only if there is no remainder.",
        ),
        (
            "at_least_one_head",
            "Where the axis does not divide the heads, each device has the whole part of the quotient here, and at "
            "least one head. These heads are replicated: each device has all of them.",
            "Divide only if there is no remainder: 4 heads on 8 devices are 4 on each.",
        ),
    ),
)
OF_SENT = _many(
    _SENT,
    "planning#What is sent",
    (
        (
            "forward_alone",
            "Only the forward pass of the blocks is counted.",
            "Two all-reduces per block happen in the backward pass.",
        ),
        (
            "each_matrix",
            "One all-reduce is counted for each of the seven matrices of a block.",
            "Attention and feed-forward have one each, in the forward and in the backward pass.",
        ),
        (
            "outside_forgotten",
            "The all-reduces at the embeddings and at the logits are missing.",
            "Add one of each.",
        ),
        (
            "lora_as_all",
            "With LoRA, as many activations are reduced as without.",
            "The input of the first block needs no gradient: one less.",
        ),
        ("tokens_not_split", *_COMPUTED[3][1:]),
        ("elements", *_COMPUTED[0][1:]),
        (
            "ring_forgotten",
            "The bytes of the results are counted. A device sends 2 (n - 1) / n of them.",
            "Multiply by 2 (n - 1) / n for an axis of n devices.",
        ),
        (
            "half_a_ring",
            "Only (n - 1) / n of the results is sent. An all-reduce sends the sums, and then the result.",
            "Multiply by 2 (n - 1) / n for an axis of n devices.",
        ),
        (
            "twice",
            "Twice the results are sent. A device does not send its own part.",
            "Multiply by 2 (n - 1) / n for an axis of n devices.",
        ),
        (
            "gradients_forgotten",
            'Nothing is sent over "batch". The rows of the mesh see different texts, and must add up gradients.',
            'Add the gradients of the trained variables, for the axis "batch".',
        ),
        (
            "gradients_of_all",
            "With LoRA, the gradients of all parameters are sent.",
            "Only trained variables have gradients.",
        ),
        (
            "gradients_not_split",
            'The gradients are not divided by the size of "model".',
            "A device sends the gradients of its own shards.",
        ),
        (
            "embeddings_once",
            "The gradient of the embeddings is sent once. The compiler sends what the lookup and what the logits "
            "contribute one after the other.",
            "Count the embeddings twice.",
        ),
        (
            "scales_split",
            'The gradients of the scales are divided by the size of "model". Scales are replicated, so a device has '
            "the gradients of all.",
            "Divide the matrices alone, and add the scales afterwards.",
        ),
        ("scales_forgotten", "The gradients of the scales are missing.", "Add those of two scales per block, and one."),
        (
            "last_scale_forgotten",
            "The gradient of the scale after the last block is missing.",
            "Add one scale of `hidden_dim` elements to those of the blocks.",
        ),
        ("axes_exchanged", "The two axes are exchanged.", 'Activations go over "model", gradients over "batch".'),
    ),
)
#: At most one of each group can be made.
_EXCLUSIVE: tuple[set[str], ...] = (
    {"intermediate_not_halved", "one_gating"},
    {"scales_forgotten", "last_scale_forgotten", "scales_split"},
    {"adapters_forgotten", "query_heads_for_value", "b_for_each_head", "rank_forgotten"},
    {"adapters_forgotten", "adapters_in_dtype"},
    {"adapters_forgotten", "adapters_split"},
    {"as_many_value_heads", "query_heads_for_value"},
    {"no_moments", "one_moment", "moments_of_frozen"},
    {"no_moments", "moments_in_float32"},
    {"dtype_ignored", "mixed_is_half"},
    {"dtype_ignored", "moments_in_float32"},
    {"dtype_ignored", "adapters_in_dtype"},
    {"not_split", "over_batch", "over_all_devices", "fsdp_as_tensor"},
    {"not_split", "scales_split"},
    {"not_split", "adapters_split"},
    {"elements", "always_float32", "stored_dtype"},
    {"tokens_not_split", "tokens_over_all_devices"},
    {"logits_forgotten", "vocabulary_not_split"},
    {"heads_not_split", "always_split", "at_least_one_head"},
    {"query_heads", "always_split", "at_least_one_head"},
    {"logits_in_float32", "elements", "always_float32"},
    {"logits_in_float32", "logits_forgotten"},
    {"scales_forgotten", "gradients_forgotten"},
    {"last_scale_forgotten", "gradients_forgotten"},
    {"scales_split", "gradients_forgotten"},
    {"scales_split", "gradients_not_split"},
    {"blocks_forgotten", "inputs_split"},
    {"forward_alone", "each_matrix"},
    {"ring_forgotten", "half_a_ring", "twice"},
    {"gradients_forgotten", "gradients_of_all"},
    {"gradients_forgotten", "gradients_not_split"},
    {"gradients_forgotten", "embeddings_once"},
    {"gradients_forgotten", "axes_exchanged"},
)


def _table(
    mistakes: Sequence[Mistake],
    cases: Sequence[Case],
    values: Callable[[Case, Names], dict[str, int]],
    relative: float,
    absolute: float = 0.0,
) -> MistakeTable:
    def compute(names: Names) -> Values:
        return {label(case, part): value for case in cases for part, value in values(case, names).items()}

    return MistakeTable(mistakes, compute, relative, absolute, _EXCLUSIVE)


def label(case: Case, part: str = "") -> str:
    """The label of a value: the case, and the part of the result."""
    return f"{case.name}: {part}" if part else case.name


@functools.cache
def arguments_table() -> MistakeTable:
    """The mistakes that the check ``arguments`` recognises."""
    # A device's share is a floor division, here of all matrices and there of each: a few bytes.
    return _table(
        OF_ARGUMENTS, ARGUMENTS, lambda case, names: {"": oracles.argument_nbytes(case, names)}, 0.0, absolute=64
    )


@functools.cache
def activations_table() -> MistakeTable:
    """The mistakes that the check ``activations`` recognises."""
    return _table(
        OF_ACTIVATIONS, ACTIVATIONS, lambda case, names: {"": oracles.activation_nbytes(case, names)}, 0.0, absolute=64
    )


@functools.cache
def cache_table() -> MistakeTable:
    """The mistakes that the check ``cache`` recognises."""
    return _table(OF_CACHE, CACHE, lambda case, names: {"": oracles.cache_nbytes(case, names)}, 0.0, absolute=64)


@functools.cache
def sent_table() -> MistakeTable:
    """The mistakes that the check ``sent`` recognises."""
    return _table(OF_SENT, SENT, oracles.sent_nbytes, 0.0, absolute=64)


TABLES = {
    "arguments": arguments_table,
    "activations": activations_table,
    "cache": cache_table,
    "sent": sent_table,
}
