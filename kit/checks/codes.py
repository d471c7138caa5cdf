"""Codes of diagnostics that no single exercise owns: of the engine, and of the checks of one's own model.

The codes of an exercise are in its ``kit/course/<exercise>/exercise.py``. A code never changes its name.
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Code:
    """What all diagnoses of one code have in common."""

    #: One sentence: what to try.
    remedy: str
    #: The lesson's section that explains it, as ``lesson#Section``; the lesson is left out in an exercise's own codes.
    anchor: str

    def of_exercise(self, name: str) -> "Code":
        """The code with the exercise's lesson in its anchor."""
        return self if "#" in self.anchor else replace(self, anchor=f"{name}#{self.anchor}")


#: An empty lesson is that of the exercise at hand.
COMMON_CODES: dict[str, Code] = {
    "NOT_IMPLEMENTED": Code("Write it; `kit hint` helps.", ""),
    "EXERCISE_DOES_NOT_IMPORT": Code("Mend that line, or begin anew with `kit reset`, which keeps a copy of yours.", ""),
    "FUNCTION_MISSING": Code("Give it that name again: the program calls it by it.", ""),
    "SIGNATURE_DOES_NOT_FIT": Code("Take the parameters that the stub had; more of them need defaults.", ""),
    "EXERCISE_CRASHED": Code("Look at that line with these arguments.", ""),
    "EXERCISE_ENDED_THE_PROCESS": Code("Return, or raise an error; to end the program is not a part's to decide.", ""),
    "EXERCISE_TIMED_OUT": Code("Look for a loop that does not end.", ""),
    "EXERCISE_PRINTS_TOO_MUCH": Code("Take out the print, or put it outside of the loop.", ""),
    "EXERCISE_PATCHES_A_LIBRARY": Code("Leave the libraries as they are, and do it in your own function.", ""),
    "EXERCISE_STARTS_JAX": Code("Do it within the function, so that the program can choose its devices first.", ""),
    "WRONG_RETURN_TYPE": Code("Return what the docstring says: a function without `return` returns None, and float() makes a number of an array that has one entry.", ""),
    "NOT_AS_EXPECTED": Code("Compare what was expected with what came, in the table.", ""),
    "LAYOUT_RULE_MATCHES_NOTHING": Code("Compare the rule with the paths: since Keras 3.14 it must match the whole path (re.fullmatch).", "layout#Rules"),
    "LAYOUT_RULES_OVERLAP": Code("Make the rules exclude each other: Keras refuses a path that two of them match.", "layout#Rules"),
    "LAYOUT_MATRIX_REPLICATED": Code('Add or widen a rule, so that each matrix is split over "model".', "layout#What a device holds"),
    "LAYOUT_AXIS_DOES_NOT_DIVIDE": Code("Choose a dimension that the axis divides.", "layout#Which dimension"),
    "LAYOUT_SPEC_DOES_NOT_FIT": Code("Give one entry, an axis or None, for each dimension of the variable, and no more.", "layout#Rules"),
    "LOADING_NO_DISTRIBUTION": Code("Call keras.distribution.set_distribution before the model is made, and leave it set.", "loading#Before the first variable"),
    "LOADING_DISTRIBUTION_TOO_LATE": Code("Set the distribution first: a variable takes its layout when it is created.", "loading#Before the first variable"),
    "LORA_NOTHING_TRAINABLE": Code('The layers are named "query" and "value": a name that fits none raises no error.', "lora#Which layers"),
    "LORA_BASE_NOT_FROZEN": Code("Train the adapters alone: freeze every other variable.", "lora#What is frozen"),
    "LORA_WRONG_TARGETS": Code("Give adapters to query and value, and to nothing else.", "lora#Which layers"),
    "LORA_WRONG_RANK": Code("Pass the rank on.", "lora#Two thin matrices"),
    "LORA_WRONG_COUNT": Code("Write down the shapes of A and B for the query and for the value, each with its own number of heads, and count the elements; then all layers.", "lora#Counting"),
    "NOTHING_TO_CHECK": Code("Give the check something to look at: it does not pass over nothing.", ""),
    "MODEL_NOT_REPRODUCIBLE": Code("Build the same model at each call, from Keras' seed or from the same weights.", ""),
    "LOSS_NOT_FINITE": Code("Look at the batch and at the loss on one device first.", ""),
    "LOSS_DEPENDS_ON_MESH": Code("Look for what counts devices, replicas or the examples of a shard by hand: a mesh changes where numbers are, and not what they are.", ""),
}

#: Codes that only a check of one's own model gives, and no exercise.
OWN_MODEL_CODES = frozenset({"NOTHING_TO_CHECK", "MODEL_NOT_REPRODUCIBLE", "LOSS_NOT_FINITE", "LOSS_DEPENDS_ON_MESH"})
