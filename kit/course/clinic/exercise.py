"""The exercise ``clinic`` as data: its checks, its codes and its hints. Imports no framework."""

from __future__ import annotations

from typing import Protocol, TYPE_CHECKING

from kit.judge.catalogue import Check, Exercise

if TYPE_CHECKING:
    import keras
    import keras_hub


class ClinicExercise(Protocol):
    """What the exercise asks for."""

    def too_much_on_each_core(self, device_mesh: keras.distribution.DeviceMesh) -> keras.distribution.LayoutMap:
        """The layout map of a public notebook, for Gemma with and without LoRA."""
        ...

    def twice_the_collectives(self, device_mesh: keras.distribution.DeviceMesh) -> keras.distribution.LayoutMap:
        """A layout map that somebody wrote down from specs that were printed elsewhere."""
        ...

    def nothing_is_split(self, device_mesh: keras.distribution.DeviceMesh) -> keras.distribution.LayoutMap:
        """A layout map that served well for years."""
        ...

    def one_head_on_eight_cores(self, device_mesh: keras.distribution.DeviceMesh) -> keras.distribution.LayoutMap:
        """A layout map that is right for Gemma 7B, given to Gemma 2B, which has 8 query heads and one for key and value."""
        ...

    def moments_on_every_core(
        self, model: keras_hub.models.CausalLM, learning_rate: float, weight_decay: float
    ) -> None:
        """Compile for tuning, by somebody who was told of "incompatible devices" once, and has been careful since."""
        ...


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
        "For each patient, which of the columns of the table in the lesson can you see from the "
        "code alone, and which needs a command? Two of the five can be told by reading patterns "
        "aloud, letter by letter, against a path.",
        "Tasks 1 to 3: count what each rule matches, and hold it against the number of blocks. "
        "Task 2 matches all: write the names of the dimensions beside each spec. Task 4: which of "
        "the kernels have a dimension of size 1 where the rule puts eight devices? What no rule "
        "matches is whole. Task 5: for each line ask what it is good for, and what would be "
        "different without it.",
        "Task 1: one more matrix for each block, whose name has a suffix. Task 2: the patterns "
        'are right; turn the entries of four rules, as `kit lesson layout "Which dimension"` '
        "says. Task 3: give each pattern the beginning and the end of the path, and let no "
        "adapter in. Task 4: two names fewer in one rule. Task 5: an optimizer that is given to "
        "compile as it was made, and built later, needs none of the lines that move anything.",
    ),
    checks=(
        Check(
            "memory",
            "spec",
            "too_much_on_each_core",
            limit=60,
            asks="No matrix is held whole, on a small model and on Gemma 7B, and no adapter is caught.",
        ),
        Check(
            "dimensions",
            "spec",
            "twice_the_collectives",
            limit=60,
            asks="Every matrix is split along the dimension that costs least.",
        ),
        Check(
            "collectives",
            "program",
            "twice_the_collectives",
            limit=120,
            asks="The compiled gradients send no more bytes than tensor parallelism needs.",
        ),
        Check(
            "rules",
            "spec",
            "nothing_is_split",
            limit=60,
            asks="Every rule matches something in the Keras of today, and what it is to match.",
        ),
        Check(
            "one_head",
            "spec",
            "one_head_on_eight_cores",
            limit=60,
            asks="Gemma 2B is made with and without LoRA: key and value are held whole, all other matrices are split.",
        ),
        Check(
            "moments",
            "spec",
            "moments_on_every_core",
            limit=90,
            asks="The optimizer is as it was asked for, and its moments lie where their variable lies.",
        ),
        Check(
            "loss",
            "spec",
            "moments_on_every_core",
            limit=90,
            asks="Loss and accuracy are what they were.",
        ),
    ),
)
