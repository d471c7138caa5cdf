"""The codes of diagnoses: each with what to try and the heading of the lesson that explains it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Code:
    """What is the same for all diagnoses of one code."""

    #: One sentence: what to try.
    remedy: str
    #: Lesson and heading, ``layout#Rules``; an empty lesson is that of the exercise at hand.
    anchor: str


CODES: dict[str, Code] = {
    # Any exercise.
    "NOT_IMPLEMENTED": Code("Write it; `kit hint` helps.", ""),
    "EXERCISE_DOES_NOT_IMPORT": Code(
        "Mend that line, or begin anew with `kit reset`, which keeps a copy of yours.", ""
    ),
    "FUNCTION_MISSING": Code("Give it that name again: the program calls it by it.", ""),
    "SIGNATURE_DOES_NOT_FIT": Code("Take the parameters that the stub had; more of them need defaults.", ""),
    "EXERCISE_CRASHED": Code("Look at that line with these arguments.", ""),
    "EXERCISE_ENDED_THE_PROCESS": Code("Return, or raise an error; to end the program is not a part's to decide.", ""),
    "EXERCISE_TIMED_OUT": Code("Look for a loop that does not end.", ""),
    "EXERCISE_PRINTS_TOO_MUCH": Code("Take out the print, or put it outside of the loop.", ""),
    "EXERCISE_PATCHES_A_LIBRARY": Code("Leave the libraries as they are, and do it in your own function.", ""),
    "EXERCISE_STARTS_JAX": Code("Do it within the function, so that the program can choose its devices first.", ""),
    "WRONG_RETURN_TYPE": Code(
        "Return what the docstring says: a function without `return` returns None, and float() makes a number of an array that has one entry.",
        "",
    ),
    "NOT_AS_EXPECTED": Code("Compare what was expected with what came, in the table.", ""),
    # mesh
    "MESH_WRONG_SHAPE": Code("The first axis has the size `batch`, the second the size `model`.", "mesh#The grid"),
    "MESH_WRONG_AXIS_NAMES": Code('Name the axes "batch" and "model", in this order.', "mesh#The grid"),
    "MESH_DEVICES_IGNORED": Code("Use the devices that were given, in their order.", "mesh#Which devices"),
    "MESH_TRUNCATES_DEVICES": Code(
        "Raise a ValueError unless batch x model is the number of devices: idle devices are paid for.",
        "mesh#Sizes that do not fit",
    ),
    "MESH_ERROR_WITHOUT_NUMBERS": Code(
        "Say in an error of your own how many devices the mesh takes and how many there are; a text that is not yours means that these sizes went past your check.",
        "mesh#Sizes that do not fit",
    ),
    # layout
    "LAYOUT_RULE_MATCHES_NOTHING": Code(
        "Compare the rule with the paths: since Keras 3.14 it must match the whole path (re.fullmatch).", "layout#Rules"
    ),
    "LAYOUT_RULES_OVERLAP": Code(
        "Make the rules exclude each other: Keras refuses a path that two of them match.", "layout#Rules"
    ),
    "LAYOUT_MATRIX_REPLICATED": Code(
        'Add or widen a rule, so that each matrix is split over "model".', "layout#What a device holds"
    ),
    "LAYOUT_WRONG_DIMENSION": Code(
        "Split what comes first along its outputs and what follows along its inputs: heads, and hidden units of the feed-forward.",
        "layout#Which dimension",
    ),
    "LAYOUT_WRONG_AXIS": Code('Split weights over "model": the axis "batch" is for the examples.', "layout#Which axis"),
    "LAYOUT_AXIS_DOES_NOT_DIVIDE": Code("Choose a dimension that the axis divides.", "layout#Which dimension"),
    "LAYOUT_SPEC_DOES_NOT_FIT": Code(
        "Give one entry, an axis or None, for each dimension of the variable, and no more.", "layout#Rules"
    ),
    "LAYOUT_CATCHES_ADAPTERS": Code(
        "End the rule with /kernel, so that it does not match lora_kernel_a and lora_kernel_b.", "layout#Adapters"
    ),
    "LAYOUT_ONLY_FOR_FEW_LAYERS": Code(
        "Let the pattern match any number: decoder_block_10 has two digits.", "layout#Rules"
    ),
    "LAYOUT_EXTRA_COLLECTIVES": Code(
        "First see to the dimensions; if they are right, split nothing that every device needs whole: small variables are best replicated.",
        "layout#What is sent",
    ),
    "LAYOUT_DOES_NOT_FIT": Code(
        "Split what a device holds most of: the largest lines of the table first.", "layout#On a TPU"
    ),
    # loading
    "LOADING_NO_DISTRIBUTION": Code(
        "Call keras.distribution.set_distribution before the model is made, and leave it set.",
        "loading#Before the first variable",
    ),
    "LOADING_DISTRIBUTION_TOO_LATE": Code(
        "Set the distribution first: a variable takes its layout when it is created.",
        "loading#Before the first variable",
    ),
    "LOADING_WRONG_DISTRIBUTION": Code(
        'Set ModelParallel(layout_map=…, batch_dim_name="batch", auto_shard_dataset=False).', "loading#ModelParallel"
    ),
    "LOADING_WEIGHTS_MISSING": Code("Let from_preset load the weights.", "loading#From the preset"),
    "LOADING_OPTIONS_IGNORED": Code("Pass **from_preset_options on to from_preset.", "loading#From the preset"),
    "SHARDING_TABLE_WRONG": Code(
        "Ask variable.value.sharding.spec, make a tuple of it, and fill that up with None.",
        "loading#What the arrays say",
    ),
    # reviews
    "REVIEWS_LABELS_KEPT": Code("Keep the text of each pair and drop its label.", "reviews#Text alone"),
    "REVIEWS_MARKUP_LEFT": Code(
        "Replace each run of <br />, with the space around it, by one space.", "reviews#Text alone"
    ),
    "REVIEWS_NOT_SHUFFLED": Code(
        "Shuffle all of the reviews before you take some: the file is sorted by label.", "reviews#The order"
    ),
    "REVIEWS_NOT_REPRODUCIBLE": Code("Draw from random.Random(seed) and from nothing else.", "reviews#The order"),
    "REVIEWS_PARTIAL_BATCH": Code(
        "Return exactly num_batches lists of exactly batch_size texts.", "reviews#Full batches"
    ),
    "REVIEWS_TOO_FEW_ACCEPTED": Code(
        "Raise a ValueError with both numbers if there are fewer than batch_size x num_batches reviews.",
        "reviews#Full batches",
    ),
    # lora
    "LORA_NOTHING_TRAINABLE": Code(
        'The layers are named "query" and "value": a name that fits none raises no error.', "lora#Which layers"
    ),
    "LORA_BASE_NOT_FROZEN": Code("Train the adapters alone: freeze every other variable.", "lora#What is frozen"),
    "LORA_WRONG_TARGETS": Code("Give adapters to query and value, and to nothing else.", "lora#Which layers"),
    "LORA_WRONG_RANK": Code("Pass the rank on.", "lora#Two thin matrices"),
    "LORA_WRONG_COUNT": Code(
        "Write down the shapes of A and B for the query and for the value, each with its own number of heads, and count the elements; then all layers.",
        "lora#Counting",
    ),
    # training
    "TRAINING_LOSS_ON_PROBABILITIES": Code("Say from_logits=True: the model returns logits.", "training#The loss"),
    "TRAINING_COUNTS_PADDING": Code(
        "Give sample_weight, which is 0 at padding, to the loss function.", "training#Padding"
    ),
    "TRAINING_TARGETS_NOT_SHIFTED": Code(
        "The target of a token is the next one: take y as the preprocessor gives it.", "training#The loss"
    ),
    "TRAINING_DECAYS_NORMS": Code(
        'Exclude variables named "bias" and "scale" from weight decay: the two words are var_names.',
        "training#The optimizer",
    ),
    "TRAINING_RATE_IGNORED": Code("Pass learning_rate on to AdamW.", "training#The optimizer"),
    "TRAINING_DECAY_IGNORED": Code("Pass weight_decay on to AdamW.", "training#The optimizer"),
    "TRAINING_OPTIMIZER_STATE_LOST": Code(
        "Return the optimizer's new variables, and give them to the next step.", "training#The step by hand"
    ),
    "TRAINING_SLOTS_REPLICATED": Code(
        "Let the optimizer be built under the distribution: its moments then lie where their variable lies.",
        "training#The optimizer",
    ),
    "TRAINING_STATE_NOT_DONATED": Code(
        "Compile the step with jax.jit and donate_argnums=0.", "training#The step by hand"
    ),
    "TRAINING_ARGUMENT_IGNORED": Code("Pass epochs and callbacks on to fit.", "training#fit"),
    "TRAINING_BATCHES_CHANGED": Code("Hand each batch over as it is, in the order given.", "training#fit"),
    "TRAINING_BASE_CHANGED": Code("Train the model's trainable variables, and no others.", "training#The step by hand"),
    "TRAINING_ADAPTERS_DEAD": Code(
        "See to it that the gradients are applied, and that the new values are kept.", "training#The step by hand"
    ),
    "TRAINING_LOSS_FLAT": Code("Look at what the optimizer is given besides its rate.", "training#Is it learning?"),
    "TRAINING_OFF_THE_TWIN": Code("Compare each part of the step with the formula in the lesson.", "training#The twin"),
    "TRAINING_EXTRA_MEMORY": Code(
        "Let every core have its own part of the gradients and the logits, as it has of the weights.",
        "training#The step by hand",
    ),
    "TRAINING_EXTRA_COLLECTIVES": Code(
        "Leave logits and gradients as they come: what every device needs whole is the loss alone.",
        "training#The step by hand",
    ),
    # generation
    "GENERATION_PROMPT_ONLY": Code(
        "Give `generate` the room: max_length counts the prompt's tokens too.", "generation#Token by token"
    ),
    "GENERATION_PROMPT_MISSING": Code("Return the prompt and its continuation.", "generation#Token by token"),
    "GENERATION_LENGTH_IGNORED": Code("Pass max_length on to `generate`.", "generation#Token by token"),
    "GENERATION_NOT_DETERMINISTIC": Code(
        "Generate with a greedy sampler, and not with a generate_function that was compiled for the sampler before.",
        "generation#The same each time",
    ),
    "GENERATION_STATE_CHANGED": Code(
        "Put the model's sampler and its compiled function back.", "generation#The same each time"
    ),
    "GENERATION_BATCH_NOT_DIVISIBLE": Code(
        'Give `generate` as many prompts as the axis "batch" divides, and return the first answer.',
        "generation#On a mesh",
    ),
    "LIKELIHOOD_COUNTS_PADDING": Code(
        "Multiply by the preprocessor's weight, and divide by its sum.", "generation#How probable is a text?"
    ),
    "LIKELIHOOD_WRONG": Code(
        "Take the log-softmax of the logits at the next token, in nats; leave out padding and fillers, and divide once, at the end.",
        "generation#How probable is a text?",
    ),
    "STYLE_CONTROL_SHIFTS_TOO": Code(
        "A shift to reviews needs reviews to become more probable; that lists became less so is not enough.",
        "generation#The control",
    ),
    "STYLE_NO_SHIFT": Code("Compare the run with `kit run`, step by step.", "generation#The control"),
    # checkpoint
    "CHECKPOINT_ADAPTERS_LOST": Code(
        "Save lora_kernel_a and lora_kernel_b themselves: save_weights writes kernels with their adapters added.",
        "checkpoint#What save_weights does",
    ),
    "CHECKPOINT_RESUME_OFF_TRAJECTORY": Code(
        "Save and restore the optimizer's variables too, its step count among them.", "checkpoint#What a step needs"
    ),
    "CHECKPOINT_MERGE_CHANGES_OUTPUTS": Code(
        "Add lora_alpha / lora_rank times A B to the variable _kernel, since kernel has it added already, and make the adapter zero.",
        "checkpoint#Merging",
    ),
    "CHECKPOINT_STILL_TRAINABLE": Code("After merging, set trainable to False.", "checkpoint#Merging"),
    "CHECKPOINT_NAMES_NOT_STABLE": Code(
        "Leave the optimizer's own name, the first part of its variables' paths, out of the names.",
        "checkpoint#Names that last",
    ),
    "CHECKPOINT_OPTIMIZER_NOT_BUILT": Code(
        "Build the optimizer for the trainable variables before you look at its variables; a second build does nothing.",
        "checkpoint#What a step needs",
    ),
    "CHECKPOINT_BFLOAT16_LOST": Code(
        "Turn values of bfloat16 into float32 before they go into the file; assigning turns them back exactly.",
        "checkpoint#Numbers that a file does not know",
    ),
    # planning
    "PLANNING_WRONG_BYTES": Code(
        "Write down the shape of each matrix of one block, and what of it a device holds; then all blocks, the embeddings, and what has a moment.",
        "planning#What a core holds",
    ),
    "PLANNING_WRONG_SPLIT": Code(
        'Divide matrices by the size of the axis "model", and nothing else: scales and adapters are whole on each device.',
        "planning#What a core holds",
    ),
    "PLANNING_WRONG_MOMENTS": Code(
        "Count two moments for each element that is trained, and none for one that is frozen.", "planning#Moments"
    ),
    "PLANNING_WRONG_DTYPE": Code(
        "Ask of each kind of variable what it is kept in, and not what is computed in: the model, the adapters, and the moments of either.",
        "planning#Dtypes",
    ),
    "PLANNING_WRONG_COLLECTIVES": Code(
        "Follow the activations through one block and back, then add what comes before the first block and after the last.",
        "planning#What is sent",
    ),
    "PLANNING_TOO_FEW_TOKENS": Code("Take more examples, and make room for them.", "planning#What fits"),
    "PLANNING_DOES_NOT_FIT": Code(
        "See which of the two is too much: what a core holds, or what it needs beside that while it computes.",
        "planning#What fits",
    ),
    "PLANNING_DOES_NOT_LEARN": Code(
        "Keep the weights in a dtype that AdamW can move them in, and make room where the activations are.",
        "planning#What learns",
    ),
    # precision
    "PRECISION_WRONG_SHARE": Code(
        "Add, round to eight significant bits, and compare; ties go to the even significand, and below a power of two numbers lie closer.",
        "precision#What bfloat16 holds",
    ),
    "PRECISION_WRONG_EFFECT": Code(
        "Divide the sum of seen times change by the sum of change times change, both in float64.",
        "precision#Telling a change from noise",
    ),
    "PRECISION_NOISE_COUNTED": Code(
        "Ask how far what is seen points where the change points: its size is mostly that of the noise.",
        "precision#Telling a change from noise",
    ),
    "PRECISION_WRONG_OUTPUTS": Code(
        "Hold your einsum against x W + scale (x A) B, term by term: the rank takes the place of the kernel's last dimension.",
        "precision#The rank's letter",
    ),
    "PRECISION_WRONG_LAYER": Code(
        "Take `_kernel`, A, B and the scale of this layer, within the call: `kernel` has the adapter added already, and a function that is made in a loop looks at the loop's last layer.",
        "precision#A layer that computes otherwise",
    ),
    "PRECISION_UPDATE_LOST": Code(
        "Find the last place where something large in bfloat16 meets something small, and let them meet in float32.",
        "precision#Where to round",
    ),
    "PRECISION_WRONG_DTYPE": Code(
        "Cast the sum to the dtype of the inputs: what goes on in float32 takes twice the memory.",
        "precision#Where to round",
    ),
    "PRECISION_VARIABLES_CHANGED": Code(
        "Change what the layers compute, and leave what they hold: saves and moments belong to these variables.",
        "precision#A layer that computes otherwise",
    ),
    "PRECISION_GRADIENT_LOST": Code(
        "Take the values of the variables at each call, within it, and let the gradient through to A and B.",
        "precision#A layer that computes otherwise",
    ),
    # multihost
    "MULTIHOST_WRONG_SETTINGS": Code(
        "Return the addresses as they are, how many processes there are, and the number of this one, the last two as int.",
        "multihost#One program, several processes",
    ),
    "MULTIHOST_SETTINGS_NOT_REFUSED": Code(
        "Refuse it before anything is started: with settings that make no sense processes wait for others that never come.",
        "multihost#One program, several processes",
    ),
    "MULTIHOST_ERROR_WITHOUT_NAME": Code(
        "Raise a ValueError of your own that has the whole name of the variable: there are three on each of many machines.",
        "multihost#One program, several processes",
    ),
    "MULTIHOST_WRONG_ROWS": Code(
        "Go by the rows of the mesh: a process feeds the part of each in which it has a device, wherever the row stands.",
        "multihost#Which rows a process feeds",
    ),
    "MULTIHOST_WRONG_ROW_ORDER": Code(
        "Name each row once, in ascending order: devices of one row of the mesh hold the same part.",
        "multihost#Which rows a process feeds",
    ),
    "MULTIHOST_BATCH_NOT_REFUSED": Code(
        "Raise a ValueError that has both numbers, unless the axis divides the batch.",
        "multihost#Which rows a process feeds",
    ),
    "MULTIHOST_WRONG_COUNT": Code(
        "Divide by the rows of the mesh that this process has a device in, and multiply by all of them.",
        "multihost#Predict",
    ),
    "MULTIHOST_NOT_WHOLE": Code(
        "What spans processes must first be copied whole to each device, by all of them; then each can read its own copy.",
        "multihost#What no process can read alone",
    ),
    "MULTIHOST_COLLECTIVES_DIFFER": Code(
        "Call `gather` for each array in every process, in an order that depends on the names alone; what is done with it may differ.",
        "multihost#The same collectives in the same order",
    ),
    "MULTIHOST_WRITTEN_TWICE": Code(
        "Write only if the number that is given is 0: two processes that write one file leave a mixture of both.",
        "multihost#The same collectives in the same order",
    ),
    "MULTIHOST_WRONG_FILE": Code(
        "Give np.savez the path and the gathered arrays by their own names.",
        "multihost#The same collectives in the same order",
    ),
    "MULTIHOST_PROCESSES_HANG": Code(
        "Look for a condition on the number of the process around something that all must do, or for a loop whose order differs.",
        "multihost#The same collectives in the same order",
    ),
    # a person's own model
    "NOTHING_TO_CHECK": Code("Give the check something to look at: it does not pass over nothing.", ""),
    "MODEL_NOT_REPRODUCIBLE": Code("Build the same model at each call, from Keras' seed or from the same weights.", ""),
    "LOSS_NOT_FINITE": Code("Look at the batch and at the loss on one device first.", ""),
    "LOSS_DEPENDS_ON_MESH": Code(
        "Look for what counts devices, replicas or the examples of a shard by hand: a mesh changes where numbers are, and not what they are.",
        "",
    ),
}

#: Codes that only a check of a person's own model gives, and no exercise.
OWN_MODEL_CODES = frozenset({"NOTHING_TO_CHECK", "MODEL_NOT_REPRODUCIBLE", "LOSS_NOT_FINITE", "LOSS_DEPENDS_ON_MESH"})
