"""The exercise ``generation`` as data: its checks, its codes and its hints.

Imports no framework.
"""

from kit.checks.codes import Code
from kit.judge.catalogue import Check, Exercise
from kit.parts.protocols import GenerationPart

EXERCISE = Exercise(
    number=7,
    name="generation",
    title="Generation and style",
    difficulty=3,
    minutes=35,
    prerequisites=("loading",),
    contract=GenerationPart,
    hints=(
        "Task 1: leave the model unchanged. Whatever you change for the call, restore it afterwards, also "
        "if an error is raised. Task 2: which positions count, what do you divide by, and when do you "
        "divide? Task 3: which scores would a model have that has only forgotten lists?",
        "Task 1: a model has the attributes sampler and generate_function. keras_hub.samplers has a "
        "GreedySampler. generate also accepts a list of prompts. Task 2: the log-probability of a token "
        "is its logit minus the logarithm of the sum of exponentials. numpy.take_along_axis selects one "
        "entry per position. Task 3: min.",
        "Task 1: save both attributes. Unless the sampler is greedy already, set a greedy sampler and set "
        "the compiled function to None. Generate within a try block whose finally restores both. Pass as "
        "many copies of the prompt as the batch axis has rows, and return the first text. Task 2: convert "
        "the logits to float32 and subtract the largest logit of each position before exp. Select the "
        "target's logit, subtract the normalizer, remove the rows of the fillers, multiply by the weight, "
        "and sum. Sum the weights separately. Task 3: a dictionary of differences. The shift is the "
        "smaller of two numbers: the gain of reviews, and this gain minus the gain of lists.",
    ),
    checks=(
        Check(
            "shift",
            "spec",
            "style_shift",
            limit=30,
            asks="Changes are differences of the scores, and the shift is above 0 for a run and not for a control.",
        ),
        Check(
            "completes",
            "spec",
            "complete",
            limit=120,
            asks="The text is the prompt with its most probable continuation and has max_length tokens, also on a "
            "mesh with a batch axis.",
        ),
        Check(
            "same_each_time",
            "spec",
            "complete",
            limit=120,
            asks="The text is greedy whatever sampler the model is compiled with, and the compile state is unchanged.",
        ),
        Check(
            "likelihood",
            "spec",
            "mean_log_likelihood",
            limit=120,
            asks="The result is the mean log-likelihood per token without padding, for any number of texts.",
        ),
    ),
    codes={
        "GENERATION_PROMPT_ONLY": Code(
            "Pass max_length on to `generate`, and return its whole text: max_length includes the prompt's tokens.",
            "Token by token",
        ),
        "GENERATION_PROMPT_MISSING": Code("Return the prompt and its continuation.", "Token by token"),
        "GENERATION_LENGTH_IGNORED": Code("Pass max_length on to `generate`.", "Token by token"),
        "GENERATION_NOT_DETERMINISTIC": Code(
            "Set a greedy sampler, and do not use a generate_function that was compiled with the previous sampler.",
            "The same each time",
        ),
        "GENERATION_STATE_CHANGED": Code(
            "Restore the model's sampler and its compiled function.", "The same each time"
        ),
        "GENERATION_BATCH_NOT_DIVISIBLE": Code(
            'Pass a number of prompts to `generate` that the axis "batch" divides, and return the first text.',
            "On a mesh",
        ),
        "LIKELIHOOD_COUNTS_PADDING": Code(
            "Multiply by the preprocessor's weight, and divide by its sum.", "How probable is a text?"
        ),
        "LIKELIHOOD_WRONG": Code(
            "Take the log-softmax of the logits at the next token, in nats. Leave out padding and fillers, and "
            "divide once, at the end.",
            "How probable is a text?",
        ),
        "STYLE_CONTROL_SHIFTS_TOO": Code(
            "Require that reviews become more probable: it is not enough that lists become less probable.",
            "The control",
        ),
        "STYLE_NO_SHIFT": Code("Compare the run with `kit run`, step by step.", "The control"),
    },
)
