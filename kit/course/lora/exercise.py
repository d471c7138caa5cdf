"""The exercise ``lora`` as data: its checks and its hints. Imports no framework."""

from kit.judge.catalogue import Exercise
from kit.parts.protocols import LoraPart

EXERCISE = Exercise(
    number=5,
    name="lora",
    title="LoRA",
    difficulty=2,
    minutes=15,
    prerequisites=("loading",),
    contract=LoraPart,
    learned="LoRA trains two thin matrices beside a kernel, and you can count their parameters before a model exists.",
    hints=(
        "LoRA freezes the model and adds two thin matrices to some kernels. Keras raises no error for a name that no "
        "layer has. How can you find out whether LoRA is enabled? The second and the third function calculate the "
        "same number in two ways.",
        "Task 1: the backbones of KerasHub have a method enable_lora, with a parameter for the names of the layers. "
        "Task 2: a model has trainable_weights and weights, and each weight has a shape. math.prod multiplies its "
        "entries. Task 3: the architecture has num_query_heads, num_key_value_heads and num_layers.",
        "Task 1: call the method of the backbone with the rank and a list of two names. Task 2: return a pair of sums "
        "of products, the sum over the trainable weights first. Task 3: take the two shapes in the docstring, once "
        "with the heads of the query and once with the heads of the value. Add up the elements of all four matrices, "
        "then take the number of blocks into account.",
    ),
    questions={
        ("params", "enable_lora", 60): {
            "adapters": "Query and value must have adapters of the given rank, and nothing else may be trainable."
        },
        ("params", "count_parameters", 90): {
            "counts": "The counts of trainable and of all parameters must be right for a small model, and for Gemma "
            "2B and 7B with LoRA."
        },
        ("params", "expected_lora_parameters", 30): {
            "arithmetic": "The closed form must be right for Gemma 2B and 7B, and for fewer key and value heads than "
            "query heads."
        },
    },
)
