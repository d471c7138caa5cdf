"""The exercise ``training`` as data: its checks, its codes and its hints. Imports no framework."""

from kit.checks.codes import Code
from kit.judge.catalogue import Check, Exercise
from kit.parts.protocols import TrainingPart

EXERCISE = Exercise(
    number=6,
    name="training",
    title="The training loop",
    difficulty=3,
    minutes=40,
    prerequisites=("reviews", "lora"),
    contract=TrainingPart,
    hints=(
        "A step computes logits, the loss, gradients and new weights. Write down the inputs and "
        "outputs of each. What changes in a step, and how does it reach the next step? The next "
        "step does not see what your step does not return.",
        "Tasks 1 and 2: AdamW has a method `exclude_from_weight_decay`, which takes words as "
        "`var_names`. `compile` has `weighted_metrics` besides `metrics`. The model returns logits. "
        "Task 3: `grain.MapDataset.source`, `numpy.array` with dtype=object, and the arguments of "
        "`fit`. Task 4: `stateless_call` takes two lists of values and the inputs, and returns the "
        "outputs and a list; the loss takes a `sample_weight`. Task 5: `jax.value_and_grad` has "
        "`has_aux`; the optimizer's `stateless_apply` takes its own variables first.",
        "Task 2: pass three objects to `compile`, not their names. Task 3: make one element per "
        "batch, in the order of the batches. Then call `fit` with everything that `finetune` was "
        "given, without shuffling. Task 4: two lines, the call and the weighted loss of y. Return "
        "the second output of the call besides the loss. Task 5: make the function that computes "
        "the value and the gradient of the loss with respect to its first argument, and call it. "
        "Pass the gradients to the optimizer. Return the three new lists as one state, and the loss.",
    ),
    checks=(
        Check(
            "optimizer",
            "spec",
            "compile_for_finetuning",
            limit=90,
            asks="AdamW has the given rate and decay, excludes biases and scales, and shards its moments like their "
            "variables.",
        ),
        Check(
            "loss",
            "spec",
            "compile_for_finetuning",
            limit=90,
            asks="The loss is cross-entropy of the next token over logits; neither loss nor accuracy counts padding.",
        ),
        Check(
            "fit",
            "train",
            "finetune",
            limit=180,
            asks="Batches are trained unchanged and in order, for the given epochs and with the callbacks; each step "
            "matches the unsharded twin.",
        ),
        Check(
            "step",
            "train",
            "make_train_step",
            limit=180,
            asks="Five steps match the unsharded twin on two meshes, and the state is donated.",
        ),
        Check(
            "learns",
            "train",
            "compile_for_finetuning",
            limit=240,
            asks="With your `compile_for_finetuning` and `finetune`, the loss of the bundled model goes down.",
        ),
        Check(
            "v3_8",
            "tpu_compile",
            "make_train_step",
            limit=240,
            asks="Compiled for a TPU v3-8, a step that trains all of Gemma 7B needs no extra memory and sends no "
            "extra bytes.",
        ),
    ),
    codes={
        "TRAINING_LOSS_ON_PROBABILITIES": Code(
            "Pass `from_logits=True` to the loss: the model returns logits.", "The loss"
        ),
        "TRAINING_COUNTS_PADDING": Code(
            "Pass `sample_weight`, which is 0 at padding, to the loss function.", "Padding"
        ),
        "TRAINING_TARGETS_NOT_SHIFTED": Code(
            "The target of a token is the next token: use y as the preprocessor returns it.", "The loss"
        ),
        "TRAINING_DECAYS_NORMS": Code(
            'Exclude variables named "bias" and "scale" from weight decay: pass the two words as `var_names`.',
            "The optimizer",
        ),
        "TRAINING_RATE_IGNORED": Code("Pass `learning_rate` to AdamW.", "The optimizer"),
        "TRAINING_DECAY_IGNORED": Code("Pass `weight_decay` to AdamW.", "The optimizer"),
        "TRAINING_OPTIMIZER_STATE_LOST": Code(
            "Return the optimizer's new variables, and pass them to the next step.", "The step by hand"
        ),
        "TRAINING_SLOTS_REPLICATED": Code(
            "Build the optimizer while the distribution is set: Keras then shards each moment like its variable.",
            "The optimizer",
        ),
        "TRAINING_STATE_NOT_DONATED": Code(
            "Compile the step with `jax.jit` and `donate_argnums=0`.", "The step by hand"
        ),
        "TRAINING_ARGUMENT_IGNORED": Code("Pass `epochs` and `callbacks` to `fit`.", "fit"),
        "TRAINING_BATCHES_CHANGED": Code("Pass each batch to `fit` unchanged, in the given order.", "fit"),
        "TRAINING_BASE_CHANGED": Code("Train only the model's trainable variables.", "The step by hand"),
        "TRAINING_ADAPTERS_DEAD": Code(
            "Make sure that the gradients are applied and that the new values are returned.", "The step by hand"
        ),
        "TRAINING_LOSS_FLAT": Code("Check what you pass to the optimizer besides its rate.", "Is it learning?"),
        "TRAINING_OFF_THE_TWIN": Code("Compare each part of the step with the formula in the lesson.", "The twin"),
        "TRAINING_EXTRA_MEMORY": Code(
            "Leave the gradients and the logits sharded, as the weights are.", "The step by hand"
        ),
        "TRAINING_EXTRA_COLLECTIVES": Code(
            "Do not gather logits or gradients: only the loss has to be replicated.", "The step by hand"
        ),
    },
)
