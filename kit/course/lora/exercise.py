"""The exercise ``lora`` as data: its checks, its codes and its hints. Imports no framework."""

from kit.judge.catalogue import Check, Exercise
from kit.parts.protocols import LoraPart

EXERCISE = Exercise(
    number=5,
    name="lora",
    title="LoRA",
    difficulty=2,
    minutes=15,
    prerequisites=("loading",),
    contract=LoraPart,
    hints=(
        "LoRA freezes all, and puts two thin matrices beside some kernels. A name that fits no "
        "layer raises no error. So how would you know that it worked? The second and the third "
        "function are two ways to the same number.",
        "Task 1: KerasHub's backbones have a method enable_lora, with a parameter for the names "
        "of the layers. Task 2: a model has trainable_weights and weights, and each has a shape; "
        "math.prod multiplies. Task 3: num_query_heads, num_key_value_heads and num_layers are in "
        "the architecture.",
        "Task 1 is one call on the backbone, with the rank and a list of two names. Task 2 is two "
        "sums of products, returned as a pair, the trainable ones first. Task 3: take the two "
        "shapes of the docstring, once with the heads of the query and once with those of the "
        "value, add up the elements of all four matrices, and think of how many blocks there are.",
    ),
    checks=(
        Check(
            "adapters",
            "params",
            "enable_lora",
            limit=60,
            asks="Adapters of that rank stand beside query and value, and nothing else is trained.",
        ),
        Check(
            "counts",
            "params",
            "count_parameters",
            limit=90,
            asks="Trainable and all parameters of a small model, and of Gemma 2B and 7B with LoRA.",
        ),
        Check(
            "arithmetic",
            "params",
            "expected_lora_parameters",
            limit=30,
            asks="The closed form at 2B, at 7B, and with fewer key and value heads.",
        ),
    ),
)
