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
        "A step is: logits, loss, gradients, new weights. Write down what goes into each and what "
        "comes out. What is different after a step, and who carries it to the next? Whatever your "
        "step does not return is lost.",
        "Tasks 1 and 2: AdamW has a method exclude_from_weight_decay, which takes words as "
        "var_names, and compile has weighted_metrics beside metrics; the model returns logits. "
        "Task 3: grain.MapDataset.source, numpy.array with dtype=object, and the arguments of "
        "fit. Task 4: stateless_call takes two lists of values and the inputs, and returns "
        "outputs and a list; the loss takes a sample_weight. Task 5: jax.value_and_grad has "
        "has_aux, and the optimizer stateless_apply takes its own variables first.",
        "Task 2: three arguments to compile, each an object and not a word. Task 3: one element a "
        "batch, made of the batches in their order, then fit with everything that finetune was "
        "given and no shuffling. Task 4: two lines, the call and the weighted loss of y; what "
        "comes back beside the logits goes out beside the loss. Task 5: make the function that "
        "gives value and gradient of the loss with respect to its first argument, call it, hand "
        "its gradients to the optimizer, and return the three new lists as one state, and the "
        "loss beside it.",
    ),
    checks=(
        Check(
            "optimizer",
            "spec",
            "compile_for_finetuning",
            limit=90,
            asks="AdamW with this rate and decay; biases and scales do not decay; moments lie where their variable lies.",
        ),
        Check(
            "loss",
            "spec",
            "compile_for_finetuning",
            limit=90,
            asks="Cross-entropy of the next token over logits, padding not counted; neither does the accuracy count it.",
        ),
        Check(
            "fit",
            "train",
            "finetune",
            limit=180,
            asks="Batches as they are, in their order, for so many epochs, with the callbacks; step by step as the unsharded twin.",
        ),
        Check(
            "step",
            "train",
            "make_train_step",
            limit=180,
            asks="Five steps by hand are those of the unsharded twin, on two meshes; the state is donated.",
        ),
        Check(
            "learns",
            "train",
            "compile_for_finetuning",
            limit=240,
            asks="With your compile_for_finetuning and finetune the loss of the bundled model goes down.",
        ),
        Check(
            "v3_8",
            "tpu_compile",
            "make_train_step",
            limit=240,
            asks="Compiled for a TPU v3-8, a step that trains all of Gemma 7B holds and sends no more than it has to.",
        ),
    ),
    codes={
        "TRAINING_LOSS_ON_PROBABILITIES": Code(
            "Say from_logits=True: the model returns logits.",
            "The loss",
        ),
        "TRAINING_COUNTS_PADDING": Code(
            "Give sample_weight, which is 0 at padding, to the loss function.",
            "Padding",
        ),
        "TRAINING_TARGETS_NOT_SHIFTED": Code(
            "The target of a token is the next one: take y as the preprocessor gives it.",
            "The loss",
        ),
        "TRAINING_DECAYS_NORMS": Code(
            'Exclude variables named "bias" and "scale" from weight decay: the two words are var_names.',
            "The optimizer",
        ),
        "TRAINING_RATE_IGNORED": Code(
            "Pass learning_rate on to AdamW.",
            "The optimizer",
        ),
        "TRAINING_DECAY_IGNORED": Code(
            "Pass weight_decay on to AdamW.",
            "The optimizer",
        ),
        "TRAINING_OPTIMIZER_STATE_LOST": Code(
            "Return the optimizer's new variables, and give them to the next step.",
            "The step by hand",
        ),
        "TRAINING_SLOTS_REPLICATED": Code(
            "Let the optimizer be built under the distribution: its moments then lie where their variable lies.",
            "The optimizer",
        ),
        "TRAINING_STATE_NOT_DONATED": Code(
            "Compile the step with jax.jit and donate_argnums=0.",
            "The step by hand",
        ),
        "TRAINING_ARGUMENT_IGNORED": Code(
            "Pass epochs and callbacks on to fit.",
            "fit",
        ),
        "TRAINING_BATCHES_CHANGED": Code(
            "Hand each batch over as it is, in the order given.",
            "fit",
        ),
        "TRAINING_BASE_CHANGED": Code(
            "Train the model's trainable variables, and no others.",
            "The step by hand",
        ),
        "TRAINING_ADAPTERS_DEAD": Code(
            "See to it that the gradients are applied, and that the new values are kept.",
            "The step by hand",
        ),
        "TRAINING_LOSS_FLAT": Code(
            "Look at what the optimizer is given besides its rate.",
            "Is it learning?",
        ),
        "TRAINING_OFF_THE_TWIN": Code(
            "Compare each part of the step with the formula in the lesson.",
            "The twin",
        ),
        "TRAINING_EXTRA_MEMORY": Code(
            "Let every core have its own part of the gradients and the logits, as it has of the weights.",
            "The step by hand",
        ),
        "TRAINING_EXTRA_COLLECTIVES": Code(
            "Leave logits and gradients as they come: what every device needs whole is the loss alone.",
            "The step by hand",
        ),
    },
)
