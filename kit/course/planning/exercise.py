"""The exercise ``planning`` as data: its checks, its codes and its hints. Imports no framework."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from kit.judge.catalogue import Exercise


class PlanningExercise(Protocol):
    """The functions to write."""

    def argument_nbytes(self, architecture: Mapping[str, Any], mesh: tuple[int, int], rank: int, dtype: str) -> int:
        """Return the bytes of weights, adapters and moments on one device."""

    def all_reduce_nbytes(
        self, architecture: Mapping[str, Any], rank: int, batch_size: int, sequence_length: int
    ) -> int:
        """Return the bytes of the results of all all-reduces in one training step."""

    def make_it_fit(self) -> dict[str, Any]:
        """Return settings with which all of Gemma 7B can be trained on a TPU v3-8."""


EXERCISE = Exercise(
    number=9,
    name="planning",
    title="Planning",
    difficulty=3,
    minutes=40,
    prerequisites=("layout", "lora"),
    contract=PlanningExercise,
    advanced=True,
    hints=(
        "Sort the variables into three groups: sharded, replicated, and adapters. For each group, ask how many "
        "elements one device holds, how many bytes an element takes, and how many copies there are: one, or three "
        "with the moments. For the all-reduces, follow one activation forward through a block, and its gradient "
        "backward.",
        "Task 1: matrices // mesh[1]; check the sum of all parameters against the total in the lesson. Task 2: the "
        "docstring has both shapes, and the exercise lora has the sum. Task 3: only one of the three dtypes stores "
        "two bytes per element. Task 4: one block has four all-reduces, two of them in the backward pass. Task 5: "
        "`kit plan gemma_7b_en --topology v3-8 --rank 0` takes --mesh, --dtype, --batch-size and --remat; it lists "
        "weights and moments as arguments, and the rest as temporaries.",
        "Tasks 1 and 2 are sums of products of sizes. Task 3: with LoRA, count the model once in its dtype and the "
        "adapters three times in theirs; without, count the model three times. Task 4: the number of activations is "
        "linear in the number of blocks, plus two outside the blocks, minus one with LoRA; multiply it by the bytes of "
        "one. Task 5: choose the mesh that shards the weights over all cores, the dtype that uses bfloat16 only for "
        "computation, the smallest sufficient batch, and remat.",
    ),
    questions={
        ("params", "argument_nbytes", 60): {
            "arguments": "The bytes on a device are exact: five configurations of Gemma 7B, and a smaller model."
        },
        ("params", "all_reduce_nbytes", 30): {
            "all_reduces": "The bytes of a step's all-reduces are those of the TPU compiler, for 1 to 28 blocks."
        },
        ("params", "make_it_fit", 30): {
            "settings": "The step has enough tokens, its weights and moments fit on a core, and it changes the weights."
        },
        ("tpu_compile", "argument_nbytes", 240): {
            "compiled_arguments": "The compiler agrees about the bytes on a core, for one block of Gemma 7B in "
            "bfloat16."
        },
        ("tpu_compile", "all_reduce_nbytes", 240): {
            "compiled_all_reduces": "The compiler agrees about the all-reduces, for one block of Gemma 7B and longer "
            "texts."
        },
        ("tpu_compile", "make_it_fit", 240): {
            "v3_8": "A step that trains all of Gemma 7B, compiled with these settings, fits on a TPU v3-8."
        },
    },
    remedies={
        "What a core holds": {
            "PLANNING_WRONG_BYTES": "Write down the shape of each matrix of one block, and which share of it a device "
            "holds. Then add all blocks, the embeddings, and the moments.",
            "PLANNING_WRONG_SPLIT": 'Divide only matrices, and only by the size of the axis "model": scales and '
            "adapters are replicated.",
        },
        "Moments": {"PLANNING_WRONG_MOMENTS": "Count two moments for each trained element, and none for a frozen one."},
        "Dtypes": {
            "PLANNING_WRONG_DTYPE": "For the model, the adapters and the moments of each, use the dtype in which they "
            "are stored, not the dtype of the computation."
        },
        "What is sent": {
            "PLANNING_WRONG_COLLECTIVES": "Follow the activations forward and backward through one block. Then add "
            "what happens before the first block and after the last."
        },
        "What fits": {
            "PLANNING_TOO_FEW_TOKENS": "Use more examples, and free the memory that they need.",
            "PLANNING_DOES_NOT_FIT": "Find out which is too large: weights and moments, or what the step needs while "
            "it computes.",
        },
        "What learns": {
            "PLANNING_DOES_NOT_LEARN": "Store the weights in a dtype in which AdamW can change them, and save memory "
            "on the activations."
        },
    },
)
