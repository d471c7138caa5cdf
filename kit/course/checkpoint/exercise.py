"""The exercise ``checkpoint`` as data: its checks, its codes and its hints.

Imports no framework.
"""

from kit.checks.codes import Code
from kit.judge.catalogue import Check, Exercise
from kit.parts.protocols import CheckpointPart

EXERCISE = Exercise(
    number=8,
    name="checkpoint",
    title="Checkpoints",
    difficulty=3,
    minutes=30,
    prerequisites=("lora", "training"),
    contract=CheckpointPart,
    hints=(
        'Look at the formulas of a step (`kit lesson training "The twin"`). Which values in them '
        "differ between a fresh model and a model after a hundred steps? Save all of those values, "
        "and nothing else.",
        "Task 1: `model.trainable_variables` and `model.optimizer.variables`. An optimizer has a "
        "`build` method, and a second call of it does nothing. `str.partition` separates the first "
        "part of a path. Task 2: `keras.ops.convert_to_numpy`, and `astype` for bfloat16. Task 3: a "
        "variable has an `assign` method. Task 4: `lora_alpha`, `lora_rank`, `lora_kernel_a`, "
        "`lora_kernel_b` and `keras.ops.matmul`.",
        "Task 1: build the optimizer for the trainable variables. Make two dictionaries, one for "
        "the model and one for the optimizer, and put a different prefix before each path. Leave "
        "out the first part of the optimizer's paths. Return both dictionaries as one. Task 2: "
        "loop over names and variables, and convert bfloat16 values. Task 3: the same loop in the "
        "other direction. Task 4: multiply A by B, scale the product, and assign the sum of kernel "
        "and product to the layer's own kernel variable. Then set one of the two matrices to zero.",
    ),
    checks=(
        Check(
            "resume",
            "train",
            "save_training",
            limit=180,
            asks="With LoRA: a fresh model resumes the saved run with the same state and the same losses.",
        ),
        Check(
            "resume_elsewhere",
            "train",
            "save_training",
            limit=180,
            asks="Without LoRA: a run that was saved on one mesh resumes on another.",
        ),
        Check(
            "resume_bfloat16",
            "train",
            "save_training",
            limit=180,
            asks="The state of a bfloat16 model is bit-identical after resuming.",
        ),
        Check(
            "merge",
            "train",
            "merge_adapters",
            limit=180,
            asks="The merged model computes the same logits and has no trainable variables.",
        ),
    ),
    codes={
        "CHECKPOINT_ADAPTERS_LOST": Code(
            "Save `lora_kernel_a` and `lora_kernel_b` themselves: `save_weights` adds them to the kernels.",
            "What save_weights does",
        ),
        "CHECKPOINT_RESUME_OFF_TRAJECTORY": Code(
            "Save and restore the optimizer's variables too, including its step count.", "What a step needs"
        ),
        "CHECKPOINT_MERGE_CHANGES_OUTPUTS": Code(
            "Add `lora_alpha / lora_rank` times A B to the variable `_kernel`, then set the adapter to zero. "
            "Do not add it to `kernel`, which includes the adapter already.",
            "Merging",
        ),
        "CHECKPOINT_STILL_TRAINABLE": Code("Set `trainable` to False after merging.", "Merging"),
        "CHECKPOINT_NAMES_NOT_STABLE": Code(
            "Leave the first part of the optimizer's variable paths, its own name, out of the saved names.",
            "Stable names",
        ),
        "CHECKPOINT_OPTIMIZER_NOT_BUILT": Code(
            "Build the optimizer for the trainable variables before you list its variables; "
            "a second build does nothing.",
            "What a step needs",
        ),
        "CHECKPOINT_BFLOAT16_LOST": Code(
            "Convert bfloat16 values to float32 before you write them; `assign` converts them back exactly.",
            "bfloat16 in files",
        ),
    },
)
