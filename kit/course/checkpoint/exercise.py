"""The exercise ``checkpoint`` as data: its checks, its codes and its hints.

Imports no framework.
"""

from kit.judge.catalogue import Exercise
from kit.parts.protocols import CheckpointPart

EXERCISE = Exercise(
    number=8,
    name="checkpoint",
    title="Checkpoints",
    difficulty=3,
    minutes=30,
    prerequisites=("lora", "training"),
    contract=CheckpointPart,
    learned="Training resumes exactly only if the optimizer's state is saved too, under names that stay the same.",
    hints=(
        'Look at the formulas of a step (`kit lesson training "The twin"`). Which values in them differ between a '
        "fresh model and a model after a hundred steps? Save all of those values, and nothing else.",
        "Task 1: `model.trainable_variables` and `model.optimizer.variables`. An optimizer has a `build` method, and "
        "a second call of it does nothing. `str.partition` separates the first part of a path. Task 2: "
        "`keras.ops.convert_to_numpy`, and `astype` for bfloat16. Task 3: a variable has an `assign` method. Task 4: "
        "`lora_alpha`, `lora_rank`, `lora_kernel_a`, `lora_kernel_b` and `keras.ops.matmul`.",
        "Task 1: build the optimizer for the trainable variables. Make two dictionaries, one for the model and one "
        "for the optimizer, and put a different prefix before each path. Leave out the first part of the optimizer's "
        "paths. Return both dictionaries as one. Task 2: loop over names and variables, and convert bfloat16 values. "
        "Task 3: the same loop in the other direction. Task 4: multiply A by B, scale the product, and assign the sum "
        "of kernel and product to the layer's own kernel variable. Then set one of the two matrices to zero.",
    ),
    questions={
        ("train", "save_training", 180): {
            "resume": "With LoRA: a fresh model must resume the saved run with the same state and the same losses.",
            "resume_elsewhere": "Without LoRA: a run that was saved on one mesh must resume on another.",
            "resume_bfloat16": "The state of a bfloat16 model must be bit-identical after resuming.",
        },
        ("train", "merge_adapters", 180): {
            "merge": "The merged model must compute the same logits and have no trainable variables."
        },
    },
    foreseen={
        r"ValueError: Unable to (synchronously )?create dataset .*name already exists": "Two variables have the same "
        "name: use the whole path of each, and a prefix for the optimizer's.",
        r"ValueError: The shapes differ\. .* is \(.*\) in the checkpoint and \(.*\) in the model": "The saved array "
        "has another shape than its variable. Write the whole value, as `keras.ops.convert_to_numpy` returns it: the "
        "data of one device is a shard of it.",
    },
    remedies={
        "What save_weights does": {
            "CHECKPOINT_ADAPTERS_LOST": "Save `lora_kernel_a` and `lora_kernel_b` themselves: `save_weights` adds "
            "them to the kernels."
        },
        "What a step needs": {
            "CHECKPOINT_RESUME_OFF_TRAJECTORY": "Save and restore the optimizer's variables too, including its step "
            "count.",
            "CHECKPOINT_LAYOUT_LOST": "Assign values to the variables: `variable.assign` keeps the layout, and a new "
            "array has its own.",
            "CHECKPOINT_OPTIMIZER_NOT_BUILT": "Build the optimizer for the trainable variables before you list its "
            "variables; a second build does nothing.",
        },
        "Merging": {
            "CHECKPOINT_MERGE_CHANGES_OUTPUTS": "Add `lora_alpha / lora_rank` times A B to the variable `_kernel`, "
            "then set the adapter to zero. Do not add it to `kernel`, which includes the adapter already.",
            "CHECKPOINT_STILL_TRAINABLE": "Set `trainable` to False after merging.",
        },
        "Stable names": {
            "CHECKPOINT_NAMES_NOT_STABLE": "Leave the first part of the optimizer's variable paths, its own name, out "
            "of the saved names."
        },
        "bfloat16 in files": {
            "CHECKPOINT_BFLOAT16_LOST": "Convert bfloat16 values to float32 before you write them; `assign` converts "
            "them back exactly."
        },
    },
)
