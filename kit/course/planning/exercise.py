"""The exercise ``planning`` as data: its checks, its codes and its hints. Imports no framework."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from kit.checks.codes import Code
from kit.judge.catalogue import Check, Exercise


class PlanningExercise(Protocol):
    """What the exercise asks for."""

    @staticmethod
    def argument_nbytes(architecture: Mapping[str, Any], mesh: tuple[int, int], rank: int, dtype: str) -> int:
        """Bytes of weights, adapters and moments that one device holds, with AdamW and the layout of the tutorial."""
        ...

    @staticmethod
    def all_reduce_nbytes(architecture: Mapping[str, Any], rank: int, batch_size: int, sequence_length: int) -> int:
        """Bytes of what all the all-reduces of one training step give, on the mesh (1, 8), in float32."""
        ...

    @staticmethod
    def make_it_fit() -> dict[str, Any]:
        """Settings with which all parameters of Gemma 7B are tuned on a TPU v3-8, whose cores have 16.62 GB each for a program."""
        ...


EXERCISE = Exercise(
    number=9,
    name="planning",
    title="Planning",
    difficulty=3,
    minutes=40,
    prerequisites=('layout', 'lora'),
    contract=PlanningExercise,
    advanced=True,
    hints=(
        "Make three heaps of variables: split, whole, and adapters. For each heap ask how many "
        "elements a device has of it, how many bytes an element takes, and how often it is there: "
        "once, or three times. For the all-reduces, follow one activation up through a block, and "
        "its gradient down again.",
        "Task 1: matrices // mesh[1]; the total of all parameters stands in the lesson, to check "
        "yours with. Task 2: both shapes are in the docstring, and the exercise lora has the sum. "
        "Task 3: one dtype of three is kept in two bytes. Task 4: one block is four, two of them "
        "on the way back. Task 5: `kit plan gemma_7b_en --rank 0` takes --mesh, --dtype, "
        "--batch-size and --remat; it says what is held as arguments, and the rest as "
        "temporaries.",
        "Tasks 1 and 2 are sums of products of sizes. Task 3: if there is a rank, the model once "
        "in its dtype and the adapters three times in theirs; else the model three times. Task 4: "
        "a number of activations that is linear in the blocks, with two more outside of them and "
        "with LoRA one less, times the bytes of one. Task 5: the mesh that splits weights over "
        "all cores, the dtype that is computed in and not kept, as few examples as are enough, "
        "and blocks that are computed twice.",
    ),
    checks=(
        Check(
            "arguments",
            "params",
            "argument_nbytes",
            limit=60,
            asks="What a device holds of Gemma 7B in four configurations, and of other models, to the byte.",
        ),
        Check(
            "all_reduces",
            "params",
            "all_reduce_nbytes",
            limit=30,
            asks="What the all-reduces of a step give, for one to 28 blocks, beside what the TPU compiler made of them.",
        ),
        Check(
            "settings",
            "params",
            "make_it_fit",
            limit=30,
            asks="Settings that make a step of enough tokens for a v3-8, whose state has room on a core, and that moves the weights.",
        ),
        Check(
            "compiled_arguments",
            "tpu_compile",
            "argument_nbytes",
            limit=240,
            asks="The compiler agrees about what a core holds, for one block of Gemma 7B in bfloat16.",
        ),
        Check(
            "compiled_all_reduces",
            "tpu_compile",
            "all_reduce_nbytes",
            limit=240,
            asks="The compiler agrees about the all-reduces, for one block of Gemma 7B and longer texts.",
        ),
        Check(
            "v3_8",
            "tpu_compile",
            "make_it_fit",
            limit=240,
            asks="Compiled for a TPU v3-8 with these settings, a step that trains all of Gemma 7B fits.",
        ),
    ),
    codes={
        "PLANNING_WRONG_BYTES": Code(
            "Write down the shape of each matrix of one block, and what of it a device holds; then all blocks, the embeddings, and what has a moment.",
            "What a core holds",
        ),
        "PLANNING_WRONG_SPLIT": Code(
            'Divide matrices by the size of the axis "model", and nothing else: scales and adapters are whole on each device.',
            "What a core holds",
        ),
        "PLANNING_WRONG_MOMENTS": Code(
            "Count two moments for each element that is trained, and none for one that is frozen.",
            "Moments",
        ),
        "PLANNING_WRONG_DTYPE": Code(
            "Ask of each kind of variable what it is kept in, and not what is computed in: the model, the adapters, and the moments of either.",
            "Dtypes",
        ),
        "PLANNING_WRONG_COLLECTIVES": Code(
            "Follow the activations through one block and back, then add what comes before the first block and after the last.",
            "What is sent",
        ),
        "PLANNING_TOO_FEW_TOKENS": Code(
            "Take more examples, and make room for them.",
            "What fits",
        ),
        "PLANNING_DOES_NOT_FIT": Code(
            "See which of the two is too much: what a core holds, or what it needs beside that while it computes.",
            "What fits",
        ),
        "PLANNING_DOES_NOT_LEARN": Code(
            "Keep the weights in a dtype that AdamW can move them in, and make room where the activations are.",
            "What learns",
        ),
    },
)
