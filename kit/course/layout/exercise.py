"""The exercise ``layout`` as data: its checks, its codes and its hints. Imports no framework."""

from kit.judge.catalogue import Exercise
from kit.parts.protocols import LayoutPart

EXERCISE = Exercise(
    number=2,
    name="layout",
    title="The layout map",
    difficulty=2,
    minutes=25,
    prerequisites=("mesh",),
    contract=LayoutPart,
    learned="Tensor parallelism splits two matrices that follow each other so that the devices exchange only sums.",
    hints=(
        "Follow one token through a block. Take two matrices that are applied one after the other. Split the first so "
        "that each device computes some of its outputs. Split the second so that each device takes exactly these as "
        "its inputs. Then the devices exchange nothing in between. In the attention, split by whole heads.",
        "A rule is an assignment to the layout map. Its key is a regular expression that must match the whole path "
        '(re.fullmatch). Its value is a tuple with "model" or None for each dimension. You need only alternatives in '
        'parentheses, an optional group with a question mark, and .* in the patterns. `kit lesson layout "Rules"` '
        'shows how a rule can miss a path. The command in `kit lesson layout "Predict"` counts the variables that '
        "each of your rules matches.",
        "Five rules are enough. Rule 1, the embeddings: split the vocabulary. Rule 2, query, key and value, and rule "
        "3, the attention's output: the heads are the first dimension of all four kernels, and you split the heads. "
        "Rule 4, both gating matrices, whose names differ in a suffix: split their outputs. Rule 5, ffw_linear: split "
        "its inputs. End each pattern where the path of the kernel ends, and let no two patterns match the same path.",
    ),
    questions={
        ("spec", "gemma_layout_map", 45): {
            "small_model": "On each mesh, every matrix of a small model must be sharded along the right dimension.",
            "gemma_7b": "On each mesh, every matrix of Gemma 7B must be sharded along the right dimension, in all 28 "
            "layers.",
            "adapters": "No rule may match a LoRA adapter that its spec does not fit.",
        },
        ("program", "gemma_layout_map", 120): {
            "collective_bytes": "The compiled gradients must send no more bytes than tensor parallelism needs."
        },
        ("tpu_compile", "gemma_layout_map", 240): {
            "v3_8": "Compiled for a TPU v3-8, Gemma 7B's step must fit, and hold and send no more bytes than necessary."
        },
    },
    prices={
        ("spec", "gemma_layout_map", 45): {
            "weights": "Gemma 7B on a v5e-8: {nbytes} of weights per core{change}; {nbytes_needed} is enough"
        },
        ("program", "gemma_layout_map", 120): {
            "collectives": "two of its blocks, compiled for 8 simulated devices: {count} collectives in loss and "
            "gradients, {nbytes} of results per device{change}"
        },
        ("tpu_compile", "gemma_layout_map", 240): {
            "step": "by the TPU compiler, an estimate from 2 and 4 of 28 blocks: a peak of {nbytes} per core{change}, "
            "of {nbytes_usable}"
        },
    },
    remedies={
        "Which dimension": {
            "LAYOUT_WRONG_DIMENSION": "Split the vocabulary of the embeddings, the heads of the attention, and the "
            "intermediate dimension of the feed-forward."
        },
        "Which axis": {"LAYOUT_WRONG_AXIS": 'Shard the weights over "model": the axis "batch" is for the examples.'},
        "Adapters": {
            "LAYOUT_CATCHES_ADAPTERS": "End the pattern with /kernel, or with /(kernel|lora_kernel_a): a rule for "
            "kernels does not fit lora_kernel_b."
        },
        "Rules": {"LAYOUT_ONLY_FOR_FEW_LAYERS": "Let the rules match any block number, of one digit or more."},
        "What is sent": {
            "LAYOUT_EXTRA_COLLECTIVES": "Check the dimensions first. If they are right, replicate what every device "
            "needs in full, such as small variables."
        },
        "On a TPU": {"LAYOUT_DOES_NOT_FIT": "Shard the variables in the table, of which each core holds too much."},
    },
)
