"""The exercise ``checkpoint`` as data: its checks, its codes and its hints. Imports no framework."""

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
        'Look at the formulas of a step (`kit lesson training "The twin"`). What in them is '
        "different after a hundred steps from what a fresh model has? All of that must be in the "
        "file, and nothing else.",
        "Task 1: model.trainable_variables and model.optimizer.variables; an optimizer has a "
        "build, and a second call of it does nothing; str.partition takes the first part off a "
        "path. Task 2: keras.ops.convert_to_numpy, and astype for bfloat16. Task 3: a variable "
        "has assign. Task 4: lora_alpha, lora_rank, lora_kernel_a, lora_kernel_b, and "
        "keras.ops.matmul.",
        "Task 1: build the optimizer for what is trained, then two dictionaries, each with a "
        "prefix of its own before the path, the optimizer's without its first part, and both as "
        "one. Task 2: a loop over names and variables, with one decision about the dtype. Task 3: "
        "the same loop, the other way. Task 4: the scaled product of A and B, added to the "
        "layer's own kernel variable by assigning the sum; then one of the two matrices becomes "
        "zero.",
    ),
    checks=(
        Check(
            "resume",
            "train",
            "save_training",
            limit=180,
            asks="With LoRA: a fresh model goes on exactly where the saved one was.",
        ),
        Check(
            "resume_elsewhere",
            "train",
            "save_training",
            limit=180,
            asks="Without LoRA, and from one mesh to another.",
        ),
        Check(
            "resume_bfloat16",
            "train",
            "save_training",
            limit=180,
            asks="A model in bfloat16 is saved and restored to the last bit.",
        ),
        Check(
            "merge",
            "train",
            "merge_adapters",
            limit=180,
            asks="The merged model gives the same logits, and has nothing left to train.",
        ),
    ),
    codes={
        "CHECKPOINT_ADAPTERS_LOST": Code(
            "Save lora_kernel_a and lora_kernel_b themselves: save_weights writes kernels with their adapters added.",
            "What save_weights does",
        ),
        "CHECKPOINT_RESUME_OFF_TRAJECTORY": Code(
            "Save and restore the optimizer's variables too, its step count among them.",
            "What a step needs",
        ),
        "CHECKPOINT_MERGE_CHANGES_OUTPUTS": Code(
            "Add lora_alpha / lora_rank times A B to the variable _kernel, since kernel has it added already, and make the adapter zero.",
            "Merging",
        ),
        "CHECKPOINT_STILL_TRAINABLE": Code(
            "After merging, set trainable to False.",
            "Merging",
        ),
        "CHECKPOINT_NAMES_NOT_STABLE": Code(
            "Leave the optimizer's own name, the first part of its variables' paths, out of the names.",
            "Names that last",
        ),
        "CHECKPOINT_OPTIMIZER_NOT_BUILT": Code(
            "Build the optimizer for the trainable variables before you look at its variables; a second build does nothing.",
            "What a step needs",
        ),
        "CHECKPOINT_BFLOAT16_LOST": Code(
            "Turn values of bfloat16 into float32 before they go into the file; assigning turns them back exactly.",
            "Numbers that a file does not know",
        ),
    },
)
