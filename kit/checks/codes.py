"""Codes of diagnostics that belong to no single exercise: the engine's and the library's.

The codes of an exercise are in its ``kit/course/<exercise>/exercise.py``. A code never changes its
name.
"""

from dataclasses import dataclass

#: The code of a function that is not written yet.
NOT_IMPLEMENTED = "NOT_IMPLEMENTED"
#: The codes of what has no verdict: nobody knows whether the solution is right.
COULD_NOT_BE_READ = "COULD_NOT_BE_READ"
COULD_NOT_BE_JUDGED = "COULD_NOT_BE_JUDGED"
NO_VERDICT = (COULD_NOT_BE_READ, COULD_NOT_BE_JUDGED)


@dataclass(frozen=True)
class Code:
    """What all diagnoses of one code have in common."""

    #: One sentence: what to try.
    remedy: str
    #: The lesson and section that explain it, as ``lesson#Section``.
    anchor: str = ""


#: Codes that only the checks of your own model use, and no exercise.
_OWN_MODEL: dict[str, Code] = {
    "NOTHING_TO_CHECK": Code("Give the check something to look at: a check over nothing fails."),
    "MODEL_NOT_REPRODUCIBLE": Code("Build the same model at each call, from Keras' seed or from the same weights."),
    "LOSS_NOT_FINITE": Code("Check the batch and the loss on one device first."),
    "LOSS_DEPENDS_ON_MESH": Code(
        "Look for code that counts devices, replicas or the examples of a shard: a mesh changes where "
        "numbers are, not their values."
    ),
    "WEIGHTS_DIFFER_FROM_FILE": Code("Load the weights again, and change nothing before the check."),
    "WEIGHTS_NOT_IN_FILE": Code("Check that the model and the file are of one architecture."),
    "WEIGHTS_LEFT_OVER": Code("Check that the model and the file are of one architecture."),
    "WEIGHTS_HELD_TWICE": Code("Keep no reference to the arrays that you load: each holds memory of its device."),
    "STEP_TOO_MANY_COLLECTIVES": Code("Shard what two neighbouring layers exchange over the same axis."),
    "STEP_NEEDS_TOO_MUCH_MEMORY": Code("Shard what takes most, or take a smaller batch."),
    "TRAINING_NOTHING_TRAINABLE": Code("Enable LoRA, or set trainable = True on what is to be trained, and compile."),
    "TRAINING_OPTIMIZER_IS_STALE": Code("Compile again after you freeze layers or enable LoRA."),
    "TRAINING_GRADIENT_NOT_FINITE": Code(
        "Look for a square root, a logarithm or a division at 0 in the backward pass: jax.config.update("
        '"jax_debug_nans", True) stops at it.'
    ),
    "TRAINING_FROZEN_VARIABLE_MOVES": Code("Remove what assigns new values to frozen variables."),
    "TRAINING_NO_GRADIENT": Code("Use the variable on the way to the loss, or freeze it."),
    "TRAINING_UPDATE_IS_LOST": Code("Compile with a larger learning rate, or keep the weights in float32."),
    "TRAINING_LOSS_DOES_NOT_FALL": Code("Check the learning rate, and that the gradient is that of this loss."),
    "RESUMING_LOSES_STATE": Code("Save and restore each variable that training changes."),
    "RESUMING_DEPENDS_ON_MESH": Code("Assign each value to its variable: Keras then shards it as the mesh needs."),
    "RESUMING_LEAVES_THE_TRAJECTORY": Code("Save and restore everything that a step reads."),
    "SAVING_CHANGES_THE_MODEL": Code("Write copies of the values: saving must leave the model unchanged."),
    "SAVING_WRITES_NOTHING": Code("Write to the path that the function is given."),
    "DEVICE_ORDER_CHANGES_VALUES": Code("Address shards by their index, and not by the number of a device."),
    "DEVICE_ORDER_CHANGES_LOSSES": Code("Look for code that reads the numbers or the order of devices."),
    "DEVICE_ORDER_CHANGES_PROGRAM": Code("Make the same layout map for each order of the devices."),
}

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
    COULD_NOT_BE_READ: Code("Ask for the file again, as a plain file with Python in it."),
    COULD_NOT_BE_JUDGED: Code("Read the module, and judge it alone."),
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
} | _OWN_MODEL

OWN_MODEL_CODES = frozenset(_OWN_MODEL)
