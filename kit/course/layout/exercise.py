"""The exercise ``layout`` as data: its checks, its codes and its hints. Imports no framework."""

from kit.checks.codes import Code
from kit.judge.catalogue import Check, Exercise
from kit.parts.protocols import LayoutPart

EXERCISE = Exercise(
    number=2,
    name="layout",
    title="The layout map",
    difficulty=2,
    minutes=25,
    prerequisites=("mesh",),
    contract=LayoutPart,
    hints=(
        "Follow one token through a block. Of two matrices that come one after the other, the "
        "first can be cut so that each device makes some of the outputs; the second can then take "
        "just these as its inputs, and nothing is sent in between. In the attention, think in "
        "whole heads.",
        "A rule is an assignment to the layout map: the key is a regular expression that must "
        'match the whole path (re.fullmatch), the value a tuple with "model" or None for each '
        "dimension. Alternatives in parentheses, an optional group with a question mark and .* "
        'are all that you need. `kit lesson layout "Rules"` shows how a rule misses, and the '
        'command in `kit lesson layout "Predict"` counts what yours match.',
        "Five rules do. One for the embeddings, cut along the vocabulary. One for query, key and "
        "value together and one for the attention's output: the heads stand first in all four "
        "shapes, and the heads are cut. One for both gating matrices, whose names differ by a "
        "suffix: cut what they give. One for ffw_linear: cut what it takes. Each pattern ends "
        "where the kernel's path ends, and no path is matched by two.",
    ),
    checks=(
        Check(
            "small_model",
            "spec",
            "gemma_layout_map",
            limit=45,
            asks="On a small model and on each mesh, every matrix is split along the right dimension.",
        ),
        Check(
            "gemma_7b",
            "spec",
            "gemma_layout_map",
            limit=45,
            asks="So it is on Gemma 7B with its 28 layers (without its weights).",
        ),
        Check(
            "adapters",
            "spec",
            "gemma_layout_map",
            limit=45,
            asks="No rule catches an adapter that it does not fit.",
        ),
        Check(
            "collective_bytes",
            "program",
            "gemma_layout_map",
            limit=120,
            asks="The compiled gradients send no more bytes than tensor parallelism needs.",
        ),
        Check(
            "v3_8",
            "tpu_compile",
            "gemma_layout_map",
            limit=240,
            asks="Compiled for a TPU v3-8, Gemma 7B's step fits, and holds and sends no more than it needs to.",
        ),
    ),
    codes={
        "LAYOUT_WRONG_DIMENSION": Code(
            "Split what comes first along its outputs and what follows along its inputs: heads, and hidden units of the feed-forward.",
            "Which dimension",
        ),
        "LAYOUT_WRONG_AXIS": Code(
            'Split weights over "model": the axis "batch" is for the examples.',
            "Which axis",
        ),
        "LAYOUT_CATCHES_ADAPTERS": Code(
            "End the rule with /kernel, so that it does not match lora_kernel_a and lora_kernel_b.",
            "Adapters",
        ),
        "LAYOUT_ONLY_FOR_FEW_LAYERS": Code(
            "Let the pattern match any number: decoder_block_10 has two digits.",
            "Rules",
        ),
        "LAYOUT_EXTRA_COLLECTIVES": Code(
            "First see to the dimensions; if they are right, split nothing that every device needs whole: small variables are best replicated.",
            "What is sent",
        ),
        "LAYOUT_DOES_NOT_FIT": Code(
            "Split what a device holds most of: the largest lines of the table first.",
            "On a TPU",
        ),
    },
)
