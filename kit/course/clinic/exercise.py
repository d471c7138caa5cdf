"""The exercise ``clinic`` as data: its checks, its codes and its hints. Imports no framework."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from kit.judge.catalogue import Exercise

if TYPE_CHECKING:
    import keras
    import keras_hub


class ClinicExercise(Protocol):
    """The functions to write."""

    def too_much_on_each_core(self, device_mesh: keras.distribution.DeviceMesh) -> keras.distribution.LayoutMap:
        """Return a layout map that shards every matrix of Gemma, with and without LoRA."""

    def twice_the_collectives(self, device_mesh: keras.distribution.DeviceMesh) -> keras.distribution.LayoutMap:
        """Return a layout map that splits each matrix along the dimension that costs least."""

    def nothing_is_split(self, device_mesh: keras.distribution.DeviceMesh) -> keras.distribution.LayoutMap:
        """Return a layout map whose rules match in the current version of Keras."""

    def one_head_on_eight_cores(self, device_mesh: keras.distribution.DeviceMesh) -> keras.distribution.LayoutMap:
        """Return a layout map for Gemma 2B, which has 8 query heads and one key and value head."""

    def moments_on_every_core(
        self, model: keras_hub.models.CausalLM, learning_rate: float, weight_decay: float
    ) -> None:
        """Compile the model so that the optimizer state is sharded like the variables."""


EXERCISE = Exercise(
    number=10,
    name="clinic",
    title="The clinic",
    difficulty=2,
    minutes=35,
    prerequisites=("layout", "training"),
    contract=ClinicExercise,
    advanced=True,
    hints=(
        "Look at the table in the lesson. For each of the five functions, which column can you check by reading the "
        "code, and which needs a command? For two of them it is enough to compare the patterns with a path, character "
        "by character.",
        "Tasks 1 to 3: count the variables that each rule matches, and compare with the number of blocks. In task 2 "
        "every rule matches: write the names of the dimensions next to each spec. Task 4: which kernels have a "
        "dimension of size 1 that the rule splits over eight devices? Variables that no rule matches are replicated. "
        "Task 5: ask for each line what it does, and what would change without it.",
        "Task 1: match one more matrix per block, whose name has a suffix. Task 2: the patterns are right; change the "
        'specs of four rules as `kit lesson layout "Which dimension"` explains. Task 3: let each pattern match the '
        "path from its beginning to its end, and no adapter. Task 4: remove two names from one rule. Task 5: pass the "
        "optimizer to compile without building it first. Then you need none of the lines that move variables.",
    ),
    questions={
        ("spec", "too_much_on_each_core", 60): {
            "memory": "Every matrix of a small model and of Gemma 7B is sharded, and no rule matches an adapter that "
            "its spec does not fit."
        },
        ("spec", "twice_the_collectives", 60): {
            "dimensions": "Every matrix is split along the dimension that costs least."
        },
        ("spec", "nothing_is_split", 60): {
            "rules": "In the current version of Keras, every rule matches the variables that it is for, and no others."
        },
        ("spec", "one_head_on_eight_cores", 60): {
            "one_head": "Keras can build Gemma 2B with and without LoRA: key and value are replicated, all other "
            "matrices are sharded."
        },
        ("spec", "moments_on_every_core", 90): {
            "moments": "The optimizer is the one asked for, and its moments are sharded like their variables.",
            "loss": "The loss and the accuracy are unchanged.",
        },
        ("program", "twice_the_collectives", 120): {
            "collectives": "The compiled gradients send no more bytes than tensor parallelism needs."
        },
    },
)
