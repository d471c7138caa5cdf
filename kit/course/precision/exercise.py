"""The exercise ``precision`` as data: its checks, its codes and its hints. Imports no framework."""

from __future__ import annotations

from typing import Any, Protocol, TYPE_CHECKING

from kit.checks.codes import Code
from kit.judge.catalogue import Check, Exercise

if TYPE_CHECKING:
    import keras_hub
    import numpy as np


class PrecisionExercise(Protocol):
    """What the exercise asks for."""

    def share_unchanged(self, kernel: np.ndarray, update: np.ndarray) -> float:
        """The share of a kernel's entries that are as before after an update was added and the sum kept in bfloat16."""
        ...

    def effect_kept(self, change: np.ndarray, before: np.ndarray, after: np.ndarray) -> float:
        """How much of a change arrives at outputs that are rounded: 1 for all of it, 0 for nothing."""
        ...

    def adapted_outputs(self, equation: str, inputs: Any, kernel: Any, lora_a: Any, lora_b: Any, scale: float) -> Any:
        """The outputs of a layer with an adapter, rounded once: x W + scale (x A) B."""
        ...

    def add_adapters_in_float32(self, model: keras_hub.models.CausalLM) -> None:
        """Let each layer with LoRA compute its outputs so that they are rounded once. Its variables stay as they are."""
        ...


EXERCISE = Exercise(
    number=11,
    name="precision",
    title="Precision",
    difficulty=3,
    minutes=40,
    prerequisites=("lora",),
    contract=PrecisionExercise,
    advanced=True,
    hints=(
        "In each sum ask three things: how large is either side, in which dtype is the sum kept, "
        "and has the large side been rounded before? For the measure ask what the noise does to "
        "yours if it is a hundred times as large as what you look for.",
        "Task 1: ml_dtypes.bfloat16 is a dtype for NumPy's astype. Task 2: `kit lesson precision "
        '"Telling a change from noise"` has the formula. Task 3: jnp.einsum has '
        "preferred_element_type, and an array has astype; `kit lesson precision \"The rank's "
        'letter"`. Task 4: an EinsumDense has equation, _kernel, lora_kernel_a, lora_kernel_b, '
        "lora_alpha, lora_rank, and a variable has value. Task 5: functools.partial.",
        "Task 1: the mean of a comparison, of a sum in bfloat16 with the kernel. Task 2: both "
        "outputs to float64, a difference, and a quotient of two sums. Task 3: one einsum that "
        "hands out float32; a second of inputs, A and B, with the equation taken apart at the "
        "comma and the arrow; their sum with the scale, and back to the dtype of the inputs. Task "
        "4: one call with six arguments. Task 5: one assignment, of a function that has this "
        "layer for its first argument already.",
    ),
    checks=(
        Check(
            "shares",
            "spec",
            "share_unchanged",
            limit=30,
            asks="The share of entries that stay, to the last: usual kernels, signs, ties, powers of two.",
        ),
        Check(
            "effects",
            "spec",
            "effect_kept",
            limit=30,
            asks="The factor of the change is found, whatever noise is beside it.",
        ),
        Check(
            "outputs",
            "spec",
            "adapted_outputs",
            limit=60,
            asks="For each kind of layer that Gemma has, outputs are right, in the dtype of the inputs, and keep a small update.",
        ),
        Check(
            "layers",
            "spec",
            "add_adapters_in_float32",
            limit=60,
            asks="On a mesh, each layer with LoRA keeps a small update, and variables stay as they are.",
        ),
        Check(
            "gradients",
            "train",
            "add_adapters_in_float32",
            limit=120,
            asks="The gradients of adapters in bfloat16 point where those of a twin in float32 do.",
        ),
    ),
    codes={
        "PRECISION_WRONG_SHARE": Code(
            "Add, round to eight significant bits, and compare; ties go to the even significand, and below a power of two numbers lie closer.",
            "What bfloat16 holds",
        ),
        "PRECISION_WRONG_EFFECT": Code(
            "Divide the sum of seen times change by the sum of change times change, both in float64.",
            "Telling a change from noise",
        ),
        "PRECISION_NOISE_COUNTED": Code(
            "Ask how far what is seen points where the change points: its size is mostly that of the noise.",
            "Telling a change from noise",
        ),
        "PRECISION_WRONG_OUTPUTS": Code(
            "Hold your einsum against x W + scale (x A) B, term by term: the rank takes the place of the kernel's last dimension.",
            "The rank's letter",
        ),
        "PRECISION_WRONG_LAYER": Code(
            "Take `_kernel`, A, B and the scale of this layer, within the call: `kernel` has the adapter added already, and a function that is made in a loop looks at the loop's last layer.",
            "A layer that computes otherwise",
        ),
        "PRECISION_UPDATE_LOST": Code(
            "Find the last place where something large in bfloat16 meets something small, and let them meet in float32.",
            "Where to round",
        ),
        "PRECISION_WRONG_DTYPE": Code(
            "Cast the sum to the dtype of the inputs: what goes on in float32 takes twice the memory.", "Where to round"
        ),
        "PRECISION_VARIABLES_CHANGED": Code(
            "Change what the layers compute, and leave what they hold: saves and moments belong to these variables.",
            "A layer that computes otherwise",
        ),
        "PRECISION_GRADIENT_LOST": Code(
            "Take the values of the variables at each call, within it, and let the gradient through to A and B.",
            "A layer that computes otherwise",
        ),
    },
)
