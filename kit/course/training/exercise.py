"""The exercise ``training`` as data: its checks, its codes and its hints. Imports no framework."""

from kit.judge.catalogue import Exercise
from kit.parts.protocols import TrainingPart

EXERCISE = Exercise(
    number=6,
    name="training",
    title="The training loop",
    difficulty=3,
    minutes=40,
    prerequisites=("reviews", "lora"),
    contract=TrainingPart,
    learned="A training step is a function of its state: what it does not return, the next step does not see.",
    hints=(
        "A step computes logits, the loss, gradients and new weights. Write down the inputs and outputs of each. What "
        "changes in a step, and how does it reach the next step? The next step does not see what your step does not "
        "return.",
        "Tasks 1 and 2: AdamW has a method `exclude_from_weight_decay`, which takes words as `var_names`. `compile` "
        "has `weighted_metrics` besides `metrics`. The model returns logits. Task 3: `grain.MapDataset.source`, "
        "`numpy.array` with dtype=object, and the arguments of `fit`. Task 4: `stateless_call` takes two lists of "
        "values and the inputs, and returns the outputs and a list; the loss takes a `sample_weight`. Task 5: "
        "`jax.value_and_grad` has `has_aux`; the optimizer's `stateless_apply` takes its own variables first.",
        "Task 2: pass three objects to `compile`, not their names. Task 3: make one element per batch, in the order "
        "of the batches. Then call `fit` with everything that `finetune` was given, without shuffling. Task 4: two "
        "lines, the call and the weighted loss of y. Return the second output of the call besides the loss. Task 5: "
        "make the function that computes the value and the gradient of the loss with respect to its first argument, "
        "and call it. Pass the gradients to the optimizer. Return the three new lists as one state, and the loss.",
    ),
    questions={
        ("spec", "compile_for_finetuning", 90): {
            "optimizer": "AdamW must have the given rate and decay, exclude biases and scales, and shard its moments "
            "like their variables.",
            "loss": "The loss must be cross-entropy of the next token over logits; neither loss nor accuracy may "
            "count padding.",
        },
        ("train", "finetune", 180): {
            "fit": "Batches must be trained unchanged and in order, for the given epochs and with the callbacks; each "
            "step must match the unsharded twin."
        },
        ("train", "make_train_step", 180): {
            "step": "Five steps must match the unsharded twin on two meshes, and the state must be donated."
        },
        ("train", "compile_for_finetuning", 240): {
            "learns": "With your `compile_for_finetuning` and `finetune`, the loss of the bundled model must go down."
        },
        ("tpu_compile", "make_train_step", 240): {
            "v3_8": "Compiled for a TPU v3-8, a step that trains all of Gemma 7B must need no extra memory and send "
            "no extra bytes."
        },
    },
    foreseen={
        r"TypeError: grad requires real- or complex-valued inputs": "Differentiate with respect to the trainable "
        "list, the first argument: one of the values that you differentiate by is an integer.",
        r"ValueError: .*nested structure": "`stateless_call` and `stateless_apply` each return a pair: unpack it.",
    },
    remedies={
        "The loss": {
            "TRAINING_LOSS_ON_PROBABILITIES": "Pass `from_logits=True` to the loss: the model returns logits.",
            "TRAINING_TARGETS_NOT_SHIFTED": "The target of a token is the next token: use y as the preprocessor "
            "returns it.",
        },
        "Padding": {"TRAINING_COUNTS_PADDING": "Pass `sample_weight`, which is 0 at padding, to the loss function."},
        "The optimizer": {
            "TRAINING_DECAYS_NORMS": 'Exclude variables named "bias" and "scale" from weight decay: pass the two '
            "words as `var_names`.",
            "TRAINING_RATE_IGNORED": "Pass `learning_rate` to AdamW.",
            "TRAINING_DECAY_IGNORED": "Pass `weight_decay` to AdamW.",
            "TRAINING_SLOTS_REPLICATED": "Build the optimizer while the distribution is set: Keras then shards each "
            "moment like its variable.",
        },
        "The step by hand": {
            "TRAINING_OPTIMIZER_STATE_LOST": "Return the optimizer's new variables, and pass them to the next step.",
            "TRAINING_STATE_NOT_DONATED": "Compile the step with `jax.jit` and `donate_argnums=0`.",
            "TRAINING_BASE_CHANGED": "Train only the model's trainable variables.",
            "TRAINING_ADAPTERS_DEAD": "Make sure that the gradients are applied and that the new values are returned.",
            "TRAINING_EXTRA_MEMORY": "Leave the gradients and the logits sharded, as the weights are.",
            "TRAINING_EXTRA_COLLECTIVES": "Do not gather logits or gradients: only the loss has to be replicated.",
        },
        "fit": {
            "TRAINING_ARGUMENT_IGNORED": "Pass `epochs` and `callbacks` to `fit`.",
            "TRAINING_EPOCHS_CHANGED": "Call `fit` once, with all batches and with `epochs`.",
            "TRAINING_BATCHES_CHANGED": "Pass each batch to `fit` unchanged, in the given order.",
        },
        "Is it learning?": {"TRAINING_LOSS_FLAT": "Check what you pass to the optimizer besides its rate."},
        "The twin": {"TRAINING_OFF_THE_TWIN": "Compare each part of the step with the formula in the lesson."},
    },
)
