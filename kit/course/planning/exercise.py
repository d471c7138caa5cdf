"""The exercise ``planning`` as data: its checks, its codes and its hints. Imports no framework."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from kit.judge.catalogue import Exercise


class PlanningExercise(Protocol):
    """The functions to write."""

    def argument_nbytes(
        self, architecture: Mapping[str, Any], mesh: tuple[int, int], rank: int, dtype: str, layout: str = ...
    ) -> int:
        """Return the bytes of weights, adapters and moments on one device."""

    def activation_nbytes(
        self, architecture: Mapping[str, Any], mesh: tuple[int, int], batch_size: int, sequence_length: int, dtype: str
    ) -> int:
        """Return the bytes that a device keeps for the backward pass, with remat."""

    def cache_nbytes(
        self, architecture: Mapping[str, Any], mesh: tuple[int, int], batch_size: int, max_length: int, dtype: str
    ) -> int:
        """Return the bytes of the cache of keys and values on a device while a model generates."""

    def sent_nbytes(
        self, architecture: Mapping[str, Any], mesh: tuple[int, int], rank: int, batch_size: int, sequence_length: int
    ) -> dict[str, int]:
        """Return the bytes that a device sends in one training step, by axis."""

    def choose_run(self) -> dict[str, Any]:
        """Return the slice and the settings of a run that tunes Gemma 7B for a budget."""


EXERCISE = Exercise(
    number=9,
    name="planning",
    title="Planning",
    difficulty=3,
    minutes=75,
    prerequisites=("layout", "lora"),
    contract=PlanningExercise,
    advanced=True,
    learned="Shapes, dtypes and the mesh decide what a device holds and sends, before anybody pays for it.",
    hints=(
        "For each function, write down three things: how many elements there are in all, among how many devices they "
        "are "
        "split, and how many bytes one takes. For what is sent, follow one activation forward through a block, and its "
        "gradient backward. For the run, rule out slices on paper before you compile anything.",
        "Task 1: check the sum of all parameters against the total in the lesson; only one of the three dtypes stores "
        "two "
        "bytes. Task 2: the examples of a device are those of its row of the mesh. Task 3: a remainder decides whether "
        "the "
        "heads are split. Task 4: one block has four all-reduces, two of them in the backward pass; the factor of a "
        "ring "
        'is in the docstring, and `kit lesson planning "When (2, 4) beats (1, 8)"` has the rest. Task 5: on which '
        "slice "
        "does a chip have space for all weights in bfloat16?",
        "Task 1: matrices divided by one or both sizes of the mesh, plus scales; with LoRA the model once and the "
        "adapters "
        "three times, else the model three times. Task 2: the size of one token is blocks x hidden plus this device's "
        "vocabulary. Task 4: activations are linear in the number of blocks, plus two, minus one with LoRA; gradients "
        "are "
        "the elements of task 1 without moments, with the embeddings twice. Task 5: prefer the slice with the most "
        'operations per dollar, then the longest axis "batch" that fits, adapters, and remat.',
    ),
    questions={
        ("params", "argument_nbytes", 60): {
            "arguments": "The bytes on a device must be exact: Gemma 7B and a smaller model, in two layouts."
        },
        ("params", "activation_nbytes", 30): {
            "activations": "What a device keeps for the backward pass must be exact, on four meshes and in three "
            "dtypes."
        },
        ("params", "cache_nbytes", 30): {
            "cache": "The cache of keys and values must be exact, also with fewer heads than devices."
        },
        ("params", "sent_nbytes", 30): {
            "sent": "What a device sends over each axis must be that of rings, for activations and gradients."
        },
        ("params", "choose_run", 60): {
            "run": "On paper, the run must fit, change what it trains, and cost no more than the budget."
        },
        ("tpu_compile", "argument_nbytes", 240): {
            "compiled_arguments": "The compiler must agree about the arguments of one block of Gemma 7B in bfloat16."
        },
        ("tpu_compile", "activation_nbytes", 240): {
            "compiled_activations": "The compiler's temporaries must be between your figure and 1.5 times of it."
        },
        ("tpu_compile", "sent_nbytes", 240): {
            "compiled_sent": "The compiler must agree about the all-reduces of one block of Gemma 7B and longer texts."
        },
        ("tpu_compile", "choose_run", 400): {
            "compiled_run": "By the compiler, a step with your settings must fit, and the run must cost what you state."
        },
    },
    remedies={
        "What a core holds": {
            "PLANNING_WRONG_BYTES": "Write down the shape of each matrix of one block, and which share of it a device "
            "holds. Then add all blocks, the embeddings, and the moments.",
            "PLANNING_WRONG_SPLIT": 'Divide only matrices: by the size of "model", and with "fsdp" by that of "batch".',
        },
        "Moments": {"PLANNING_WRONG_MOMENTS": "Count two moments for each trained element, and none for a frozen one."},
        "Dtypes": {
            "PLANNING_WRONG_DTYPE": "For the model, the adapters and the moments of each, use the dtype in which they "
            "are stored, not the dtype of the computation."
        },
        "Activations on paper": {
            "PLANNING_WRONG_ACTIVATIONS": "Write down the shapes of one block's input and of the logits on one device, "
            "and "
            "the bytes of an element that is computed.",
        },
        "Memory while generating": {
            "PLANNING_WRONG_CACHE": "Write down the shape of one block's keys on one device, then count all of them."
        },
        "What is sent": {
            "PLANNING_WRONG_COLLECTIVES": "Follow the activations forward and backward through one block, then add "
            "what "
            'happens before the first block and after the last. Over "batch", count the gradients of a device.'
        },
        "What fits": {
            "PLANNING_DOES_NOT_FIT": "Find out which is too large: weights and moments, or what the step needs while "
            "it computes.",
            "PLANNING_TOO_LITTLE": "Read the conditions in the docstring of `choose_run` again.",
        },
        "What learns": {
            "PLANNING_DOES_NOT_LEARN": "Train adapters, which are float32, or store the weights in a dtype in which "
            "AdamW "
            "can change them."
        },
        "What a run costs": {
            "PLANNING_TOO_EXPENSIVE": "Look at which of the figures is the largest, and at what a chip's hour buys on "
            "each "
            "slice.",
            "PLANNING_WRONG_PRICE": "Add the larger of compute and HBM to the links, multiply by the steps, and by the "
            "price of all chips.",
        },
    },
)
