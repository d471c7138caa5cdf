"""The exercise ``precision`` as data: its checks, its codes and its hints. Imports no framework."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from kit.judge.catalogue import Exercise

if TYPE_CHECKING:
    import keras_hub
    import numpy as np


class PrecisionExercise(Protocol):
    """What the exercise asks for."""

    def share_unchanged(self, kernel: np.ndarray, update: np.ndarray) -> float:
        """Return the share of entries that an update does not change if the sum is in bfloat16."""

    def effect_kept(self, change: np.ndarray, before: np.ndarray, after: np.ndarray) -> float:
        """Return the kept share of a change in rounded outputs: 1 for all of it, 0 for nothing."""

    def adapted_outputs(self, equation: str, inputs: Any, kernel: Any, lora_a: Any, lora_b: Any, scale: float) -> Any:
        """Return the outputs of a layer with an adapter, x W + scale (x A) B, rounded once."""

    def add_adapters_in_float32(self, model: keras_hub.models.CausalLM) -> None:
        """Let each layer with LoRA round its outputs only once; its variables do not change."""


EXERCISE = Exercise(
    number=11,
    name="precision",
    title="Precision",
    difficulty=3,
    minutes=40,
    prerequisites=("lora",),
    contract=PrecisionExercise,
    advanced=True,
    learned="bfloat16 loses a small number that is added to a large one: add in float32, and round once.",
    hints=(
        "For each sum ask three questions. How large are the two sides? In which dtype is the sum stored? Was the "
        "large side rounded before? For the effect, ask what your measure returns if the noise is a hundred times as "
        "large as the change.",
        "Task 1: ml_dtypes.bfloat16 is a dtype for NumPy's astype. Task 2: `kit lesson precision \"A change and "
        'noise"` has the formula. Task 3: jnp.einsum has preferred_element_type, and an array has astype; see `kit '
        'lesson precision "The rank\'s letter"`. Task 4: an EinsumDense has equation, _kernel, lora_kernel_a, '
        "lora_kernel_b, lora_alpha and lora_rank, and a variable has value. Task 5: functools.partial.",
        "Task 1: the mean of a comparison of the sum, cast to bfloat16, with the kernel. Task 2: cast both outputs to "
        "float64, subtract, and divide two sums. Task 3: one einsum that returns float32; a second einsum of inputs, "
        "A and B, whose equation you split at the comma and at the arrow; add them with the scale, and cast to the "
        "dtype of the inputs. Task 4: one call with six arguments. Task 5: assign a function whose first argument is "
        "already this layer.",
    ),
    questions={
        ("spec", "share_unchanged", 30): {
            "shares": "The share of unchanged entries must be exact, also for negative numbers, ties, powers of two, "
            "and generated numbers."
        },
        ("spec", "effect_kept", 30): {"effects": "The kept share of the change must be right, also with noise."},
        ("spec", "adapted_outputs", 60): {
            "outputs": "For each kind of layer in Gemma, outputs must be right, have the dtype of the inputs, keep a "
            "small update, and come from a product in this dtype."
        },
        ("spec", "add_adapters_in_float32", 60): {
            "layers": "On a mesh, each layer with LoRA must keep a small update, and the variables must not change."
        },
        ("train", "add_adapters_in_float32", 120): {
            "gradients": "The gradients of adapters in bfloat16 must have direction and length of those of a twin in "
            "float32."
        },
    },
    remedies={
        "What bfloat16 represents": {
            "PRECISION_WRONG_SHARE": "Add, round to eight significant bits, and compare. Ties go to the even "
            "significand, and numbers below a power of two are closer to each other."
        },
        "A change and noise": {
            "PRECISION_WRONG_EFFECT": "Divide the sum of difference x change by the sum of change x change, both in "
            "float64.",
            "PRECISION_NOISE_COUNTED": "Measure how far the difference goes in the direction of the change: its size "
            "is mostly that of the noise.",
        },
        "The rank's letter": {
            "PRECISION_WRONG_OUTPUTS": "Compare your einsum with x W + scale (x A) B, term by term: the rank takes "
            "the place of the kernel's last dimension."
        },
        "Replacing a layer's computation": {
            "PRECISION_WRONG_LAYER": "Read `_kernel`, A, B and the scale of this layer within the call: `kernel` "
            "already includes the adapter, and a function that is defined in a loop uses the loop's last layer.",
            "PRECISION_CALL_NOT_REPLACED": "Assign your function to the attribute `call` of each layer with LoRA.",
            "PRECISION_VARIABLES_CHANGED": "Change what the layers compute, and do not change their variables: "
            "checkpoints and optimizer state belong to them.",
            "PRECISION_GRADIENT_LOST": "Read the values of the variables within each call, and do not stop the "
            "gradient to A and B.",
        },
        "Where to round": {
            "PRECISION_UPDATE_LOST": "Find the last place where a small number is added to a large one in bfloat16, "
            "and add them in float32.",
            "PRECISION_FLOAT32_PRODUCT": "Multiply inputs and kernel in the dtype of the inputs, and ask for sums in "
            "float32 by preferred_element_type: a TPU multiplies bfloat16 much faster.",
            "PRECISION_WRONG_DTYPE": "Cast the sum to the dtype of the inputs: float32 takes twice the memory.",
        },
    },
)
