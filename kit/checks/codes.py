"""Codes of diagnostics that belong to no single exercise: the engine's and the library's.

The codes of an exercise are in its ``kit/course/<exercise>/exercise.py``. A code never changes its
name.
"""

from dataclasses import dataclass

#: The code of a function that is not written yet.
NOT_IMPLEMENTED = "NOT_IMPLEMENTED"


@dataclass(frozen=True)
class Code:
    """What all diagnoses of one code have in common."""

    #: One sentence: what to try.
    remedy: str
    #: The lesson and section that explain it, as ``lesson#Section``.
    anchor: str = ""


#: An anchor without a lesson refers to the lesson of the exercise that is checked.
COMMON_CODES: dict[str, Code] = {
    NOT_IMPLEMENTED: Code("Write it; `kit hint` helps."),
    "EXERCISE_DOES_NOT_IMPORT": Code("Fix that line, or start over with `kit reset`, which keeps a copy of your file."),
    "FUNCTION_MISSING": Code("Restore the function's name: the program calls it by this name."),
    "SIGNATURE_DOES_NOT_FIT": Code("Take the same parameters as the stub; give further ones defaults."),
    "EXERCISE_CRASHED": Code("Look at that line with these arguments."),
    "EXERCISE_ENDED_THE_PROCESS": Code("Return, or raise an error; do not call `exit()`."),
    "EXERCISE_TIMED_OUT": Code("Look for a loop that does not end, or for work that is done again and again."),
    "EXERCISE_WAITS": Code(
        "If more processes want a core than there are, this machine is busy: check again later. Else look for what "
        "your function waits for, such as input, a lock, another process or the network."
    ),
    "EXERCISE_PRINTS_TOO_MUCH": Code("Remove the print, or move it out of the loop."),
    "EXERCISE_PATCHES_A_LIBRARY": Code("Leave the libraries unchanged, and put the code into your own function."),
    "INTEGRITY_VIOLATION": Code("Remove what reads or writes the files, processes and pipes of the check."),
    "EXERCISE_STARTS_JAX": Code("Move this into the function: the program must choose the devices first."),
    "WRONG_RETURN_TYPE": Code("Return what the docstring says."),
    "NOT_AS_EXPECTED": Code("Compare the expected and the found values in the table."),
    "LAYOUT_RULE_MATCHES_NOTHING": Code(
        "Compare the rule with the paths: since Keras 3.14 it must match the whole path (re.fullmatch).", "layout#Rules"
    ),
    "LAYOUT_RULES_OVERLAP": Code(
        "Make the rules exclude each other: Keras refuses a path that two of them match.", "layout#Rules"
    ),
    "LAYOUT_MATRIX_REPLICATED": Code(
        'Add or widen a rule, so that the matrices in the table are sharded over "model".',
        "layout#What a device holds",
    ),
    "LAYOUT_AXIS_DOES_NOT_DIVIDE": Code(
        "Shard the dimension that the lesson derives for this matrix; if the axis does not divide it, choose another "
        "mesh.",
        "layout#Which dimension",
    ),
    "LAYOUT_SPEC_DOES_NOT_FIT": Code(
        "Give one entry, an axis or None, for each dimension of the variable, and no more.", "layout#Rules"
    ),
    "LOADING_NO_DISTRIBUTION": Code(
        "Call keras.distribution.set_distribution before you build the model, and leave it set.",
        "loading#Before the first variable",
    ),
    "LOADING_DISTRIBUTION_TOO_LATE": Code(
        "Set the distribution first: a variable gets its layout when it is created.",
        "loading#Before the first variable",
    ),
    "LORA_NOTHING_TRAINABLE": Code(
        'Use the layers\' names, "query" and "value": Keras raises no error for an unknown name.', "lora#Which layers"
    ),
    "LORA_BASE_NOT_FROZEN": Code("Train the adapters only: freeze every other variable.", "lora#What is frozen"),
    "LORA_WRONG_TARGETS": Code("Give adapters to query and value, and to no other layer.", "lora#Which layers"),
    "LORA_WRONG_RANK": Code("Pass the rank on.", "lora#Two thin matrices"),
    "LORA_WRONG_COUNT": Code(
        "Write down the shapes of A and B for the query and for the value, each with its own number of "
        "heads. Count their elements, then add up all layers.",
        "lora#Counting",
    ),
    "NOTHING_TO_CHECK": Code("Give the check something to look at: a check over nothing fails."),
    "MODEL_NOT_REPRODUCIBLE": Code("Build the same model at each call, from Keras' seed or from the same weights."),
    "LOSS_NOT_FINITE": Code("Check the batch and the loss on one device first."),
    "LOSS_DEPENDS_ON_MESH": Code(
        "Look for code that counts devices, replicas or the examples of a shard: a mesh changes where "
        "numbers are, not their values."
    ),
}

#: Codes that only the checks of your own model use, and no exercise.
OWN_MODEL_CODES = frozenset({"NOTHING_TO_CHECK", "MODEL_NOT_REPRODUCIBLE", "LOSS_NOT_FINITE", "LOSS_DEPENDS_ON_MESH"})
